"""Initialisation: which core takes which scheme, and the numbers each scheme sets."""

import math
from itertools import product

import pytest
import torch
from torch import Tensor, nn

from longlag.models import initialisation
from longlag.models.gru import GRU
from longlag.models.gru_scratch import GRUScratch
from longlag.models.initialisation import ACCEPTED, GATES
from longlag.models.lstm import LSTM
from longlag.models.lstm_1997 import LSTM1997
from longlag.models.lstm_peephole import LSTMPeephole
from longlag.models.lstm_scratch import LSTMScratch
from longlag.models.rnn import RNN, ReLURNN
from longlag.models.rnn_scratch import RNNScratch
from longlag.models.transformer import Transformer

RNNS, GRUS = dict.fromkeys((RNN, RNNScratch), "rnn"), dict.fromkeys((GRU, GRUScratch), "gru")
LSTMS = dict.fromkeys((LSTM, LSTMScratch, LSTMPeephole), "lstm")
CORES = RNNS | LSTMS | GRUS | {LSTM1997: "lstm_1997", Transformer: "transformer"}
SCHEMES = ("torch", "orthogonal", "identity", "forget_one", "chrono", "chrono_agnostic", "chrono_unbounded")
AGNOSTIC = ("chrono_agnostic", "chrono_unbounded")
HIDDEN, LAYERS, T_MAX = 64, 2, 100
every_gated = pytest.mark.parametrize("make", [*LSTMS, *GRUS])


def gates(core: nn.Module, name: str, layer: int) -> dict[str, Tensor]:
    """A parameter's block for each gate."""
    names = GATES[CORES[type(core)]]
    return dict(zip(names, core.get_parameter(f"{name}_l{layer}").detach().chunk(len(names)), strict=True))


def made(make: type[nn.Module], scheme: str, t_max: int = T_MAX) -> nn.Module:
    torch.manual_seed(0)
    return make(8, HIDDEN, LAYERS, init=scheme, t_max=t_max)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("make", CORES)
def test_each_core_takes_its_schemes_alone(make, scheme):
    accepted = ACCEPTED[CORES[make]]
    if scheme in accepted:
        assert make(8, 16, init=scheme)(torch.randn(2, 3, 8)).isfinite().all()
        return
    with pytest.raises(ValueError, match=f"model.init={scheme} does not fit the {CORES[make]}") as refused:
        make(8, 16, init=scheme)
    assert str(refused.value).endswith(f"it takes {', '.join(accepted)}")
    assert "\n" not in str(refused.value)


def test_table_of_the_docstring_is_what_is_accepted():
    rows = [line.split() for line in initialisation.__doc__.splitlines()]
    (header,) = [row for row in rows if row[:1] == ["scheme"]]
    table = {row[0]: row[1:6] for row in rows if row and row[0] in SCHEMES}
    assert set(table) == set(SCHEMES)
    for column, architecture in enumerate(header[1:6]):
        assert {scheme for scheme in SCHEMES if table[scheme][column] == "yes"} == set(ACCEPTED[architecture])


@pytest.mark.parametrize(
    ("make", "stock"),
    [*((make, nn.RNN) for make in RNNS), (LSTM, nn.LSTM), (LSTMScratch, nn.LSTM), *((make, nn.GRU) for make in GRUS)],
)
def test_torch_is_untouched(make, stock):
    core = made(make, "torch")
    torch.manual_seed(0)
    expected = stock(8, HIDDEN, LAYERS).state_dict()
    assert core.state_dict().keys() == expected.keys()
    for name, value in core.state_dict().items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize(
    ("make", "scheme"),
    [
        *product((*RNNS, LSTM1997), ("orthogonal",)),
        *product((*LSTMS, *GRUS), ("orthogonal", "forget_one", "chrono", *AGNOSTIC)),
    ],
)
def test_recurrent_weights_are_orthogonal_per_gate(make, scheme):
    core = made(make, scheme)
    for layer in range(LAYERS):
        for U in gates(core, "weight_hh", layer).values():
            torch.testing.assert_close(U.T @ U, torch.eye(HIDDEN), rtol=0, atol=1e-5)


def test_identity():
    core = made(RNN, "identity")
    for layer in range(LAYERS):
        assert torch.equal(gates(core, "weight_hh", layer)["h"], torch.eye(HIDDEN))


@pytest.mark.parametrize(
    ("make", "scheme"), [(RNN, "identity"), *product((*RNNS, *LSTMS, *GRUS, LSTM1997), ("orthogonal",))]
)
def test_biases_are_zero(make, scheme):
    biases = [value for name, value in made(make, scheme).named_parameters() if name.startswith("bias")]
    assert len(biases) == 2 * LAYERS
    assert not any(bias.any() for bias in biases)


@every_gated
def test_forget_one(make):
    core = made(make, "forget_one")
    for layer in range(LAYERS):
        bias = gates(core, "bias_ih", layer)
        assert (bias.pop("z" if make in GRUS else "f") == 1).all()
        assert not any(other.any() for other in bias.values())
        assert not core.get_parameter(f"bias_hh_l{layer}").any()


@every_gated
def test_chrono(make):
    core = made(make, "chrono")
    for layer in range(LAYERS):
        bias = gates(core, "bias_ih", layer)
        keep = bias.pop("z" if make in GRUS else "f")
        scales = keep.exp()
        assert 1 - 1e-4 <= scales.min() < T_MAX / 4
        assert T_MAX * 3 / 4 < scales.max() <= T_MAX - 1 + 1e-3
        assert scales.mean().item() == pytest.approx(T_MAX / 2, abs=4 * T_MAX / (12 * HIDDEN) ** 0.5)
        if make not in GRUS:
            assert torch.equal(bias.pop("i"), -keep)
        assert not any(other.any() for other in bias.values())
        assert not core.get_parameter(f"bias_hh_l{layer}").any()


@every_gated
@pytest.mark.parametrize("t_max", [1, 2])
def test_shortest_time_scale_is_three(make, t_max):
    core, three = made(make, "chrono", t_max), made(make, "chrono", 3)
    keep = gates(core, "bias_ih", 0)["z" if make in GRUS else "f"]
    assert torch.equal(core.bias_ih_l0, three.bias_ih_l0)
    assert 0 <= keep.min() < keep.max() <= torch.tensor(2.0).log()


def test_chrono_without_a_forget_gate():
    bias = gates(made(LSTM1997, "chrono"), "bias_ih", 0)
    scales = bias.pop("i").neg().exp()
    assert 1 - 1e-4 <= scales.min() < T_MAX / 4
    assert T_MAX * 3 / 4 < scales.max() <= T_MAX - 1 + 1e-3
    assert not any(other.any() for other in bias.values())


def drawn(make: type[nn.Module], scheme: str, t_max: int = T_MAX) -> Tensor:
    """Many time scales of the units, in steps."""
    torch.manual_seed(0)
    core = make(1, 512, init=scheme, t_max=t_max)
    name = {"gru": "z", "lstm": "f", "lstm_1997": "i"}[CORES[make]]
    return gates(core, "bias_ih", 0)[name].abs().exp()


@pytest.mark.parametrize("make", [*LSTMS, *GRUS, LSTM1997])
@pytest.mark.parametrize("scheme", AGNOSTIC)
def test_agnostic_schemes_know_no_lag(make, scheme):
    scales = drawn(make, scheme)
    assert torch.equal(scales, drawn(make, scheme, t_max=7))
    assert scales.min() >= 2 - 1e-3
    assert scales.max() <= 10_000 * (1 + 1e-5)
    if CORES[make] == "lstm":
        bias = gates(made(make, scheme), "bias_ih", 0)
        assert torch.equal(bias["i"], -bias["f"])


@pytest.mark.parametrize(
    ("scheme", "law"),
    [
        ("chrono_agnostic", lambda u: math.log(u / 2) / math.log(5000)),
        ("chrono_unbounded", lambda u: sum(map(footnote, range(2, u + 1))) / sum(map(footnote, range(2, 10_001)))),
    ],
)
def test_time_scales_follow_their_law(scheme, law):
    """Kolmogorov-Smirnov: 512 draws lie within .072 of their law in 99 of 100 cases."""
    scales = drawn(LSTM, scheme)
    for bound in (2, 3, 5, 10, 30, 100, 1000, 5000):
        assert (scales <= bound + 0.01).double().mean().item() == pytest.approx(law(bound), abs=0.072)


def footnote(k: int) -> float:
    return 1 / (k * math.log(k + 1) ** 2)


def test_irnn():
    """Le, Jaitly & Hinton (2015): a positive state is kept as it is where there is no input."""
    core = ReLURNN(3, 8, init="identity")
    assert torch.equal(core.weight_hh_l0, torch.eye(8))
    state = torch.rand(1, 2, 8)
    outputs, last = core.unroll(torch.zeros(2, 50, 3), state)
    assert torch.equal(last, state)
    assert torch.equal(outputs, state[0][:, None].expand(-1, 50, -1))
    torch.manual_seed(0)
    stock = nn.RNN(3, 8, nonlinearity="relu", batch_first=True)
    core.load_state_dict(stock.state_dict())
    x = torch.randn(2, 9, 3)
    assert torch.equal(core(x), stock(x)[0])
