"""The gradient over distance, against cores whose gradient is known."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from longlag.measure import gradients
from longlag.measure.gradients import Profile, gradient_over_distance, log10_norm, scheduled
from longlag.models.gru import GRU
from longlag.models.lstm import LSTM
from longlag.models.lstm_scratch import LSTMScratch
from longlag.models.network import Network
from longlag.models.rnn import RNN
from longlag.models.transformer import Transformer
from longlag.stream import Seeds, fixed_batches
from longlag.tasks.adding import Adding
from longlag.tasks.copy import Copy


class Linear(nn.Module):
    """h_t = a h_{t-1} + x_t, as one sum over the earlier steps."""

    def __init__(self, input_size: int, a: float):
        super().__init__()
        self.hidden_size, self.a = input_size, a

    def forward(self, x: Tensor) -> Tensor:
        step = torch.arange(x.shape[1], dtype=x.dtype)
        distance = step[:, None] - step
        return torch.tril(torch.pow(self.a, distance.clamp_min(0))) @ x


class Accumulator(Linear):
    """The same, one step at a time from a state on."""

    def forward(self, x: Tensor) -> Tensor:
        return self.unroll(x)[0]

    def unroll(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        h = x.new_zeros(x.shape[0], x.shape[2]) if state is None else state[0]
        outputs = []
        for x_t in x.unbind(1):
            h = self.a * h + x_t
            outputs.append(h)
        return torch.stack(outputs, 1), h[None]


class Turning(nn.Module):
    """h_t = a e^(i angle) h_{t-1} + x_t in complex numbers; the outputs are real and imaginary parts."""

    def __init__(self, input_size: int, a: float, angle: float):
        super().__init__()
        self.hidden_size = 2 * input_size
        self.turn = nn.Parameter(torch.polar(torch.tensor(a), torch.tensor(angle)))

    def forward(self, x: Tensor) -> Tensor:
        step = torch.arange(x.shape[1])
        distance = step[:, None] - step
        h = torch.tril(self.turn ** distance.clamp_min(0)) @ x.to(self.turn.dtype)
        return torch.cat([h.real, h.imag], dim=-1)


class Attention(nn.Module):
    """Causal attention whose queries and keys are zero, and whose values are the inputs: the mean of all so far."""

    def __init__(self, input_size: int):
        super().__init__()
        self.hidden_size = input_size

    def forward(self, x: Tensor) -> Tensor:
        nothing = torch.zeros_like(x)
        return nn.functional.scaled_dot_product_attention(nothing, nothing, x, is_causal=True)


class Delay(nn.Module):
    """h_t = x_{t-lag}."""

    def __init__(self, input_size: int, lag: int):
        super().__init__()
        self.hidden_size, self.lag = input_size, lag

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.pad(x, (0, 0, self.lag, 0))[:, : x.shape[1]]


def connect(task: Copy, make: type[nn.Module], **knobs: object) -> Network:
    torch.manual_seed(0)
    return Network(task, lambda input_size: make(input_size, **knobs))


def profile(network: Network, task: Copy) -> dict[int, float | None]:
    """log10 g(k) at each distance k."""
    (batch,) = fixed_batches(task, "val", Seeds(0), 4)
    points = gradient_over_distance(network, task, batch, step=7).points
    assert {point["step"] for point in points} == {7}
    return {point["distance"]: point["log10_norm"] for point in points}


@pytest.mark.parametrize("a", [0.5, 0.9, -0.9, 1.0])
def test_linear_recurrence(a):
    task = Copy(1000)
    norms = profile(connect(task, Linear, a=a), task)
    assert list(norms) == [0, *(2**power for power in range(10)), 1000]
    for distance, norm in norms.items():
        ratio = norm - norms[0] - distance * math.log10(abs(a))
        assert 10**ratio == pytest.approx(1.0, rel=1e-6), distance


@pytest.mark.parametrize("angle", [0.0, 1.0, math.pi / 2])
def test_complex_numbers_stay_complex(angle):
    task = Copy(100)
    norms = profile(connect(task, Turning, a=0.9, angle=angle), task)
    slope = (norms[100] - norms[64]) / 36  # a norm over both parts turns a little with the head's weights
    assert slope == pytest.approx(math.log10(0.9), abs=0.02)


@pytest.mark.parametrize("a", [0.5, 0.9, 1.0])
def test_state_of_a_linear_recurrence(a):
    task = Copy(1000)
    (batch,) = fixed_batches(task, "val", Seeds(0), 4)
    measured = gradient_over_distance(connect(task, Accumulator, a=a), task, batch, 0)
    assert list(measured.states) == [0, *(2**power for power in range(10)), 1000]
    for distance, norm in measured.states.items():
        assert 10 ** (norm - measured.states[0] - distance * math.log10(a)) == pytest.approx(1.0, rel=1e-6), distance
        assert norm == pytest.approx(measured.norms[distance], abs=1e-6)  # what enters the state is the input itself
    assert measured.scalars["state_log10_over_lag"] == pytest.approx(1000 * math.log10(a), rel=1e-6)


def test_each_sequence_counts_from_its_own_step():
    task = Adding(50)
    (batch,) = fixed_batches(task, "val", Seeds(0), 4)
    batch = batch._replace(steps=torch.tensor([[20], [31], [49], [40]]))
    measured = gradient_over_distance(connect(task, Accumulator, a=0.8), task, batch, 0)
    assert list(measured.states) == [0, 1, 2, 4, 8, 16, 20]
    for distance, norm in measured.states.items():
        assert norm - measured.states[0] == pytest.approx(distance * math.log10(0.8), abs=1e-9)


@pytest.mark.parametrize("layers", [1, 2])
def test_state_gradient_of_the_lstm_is_that_of_h_and_c_together(layers):
    task = Copy(30)
    network = connect(task, LSTMScratch, hidden_size=8, num_layers=layers, init="chrono", t_max=30).double()
    (batch,) = fixed_batches(task, "val", Seeds(0), 1)
    measured = gradient_over_distance(network, task, batch, 0)
    embedded = network.encoder(batch.inputs).double()
    s = int(batch.steps[0, 0])
    for distance in (1, 4, 30):
        _, (h, c) = network.core.unroll(embedded[:, : s - distance + 1])
        h, c = h.detach().requires_grad_(), c.detach().requires_grad_()
        later, _ = network.core.unroll(embedded[:, s - distance + 1 : s + 1], (h, c))
        task.measure(network.head(later[:, -1:]), batch)["loss"].sum().backward()
        norm = torch.cat([h.grad.flatten(), c.grad.flatten()]).norm().log10().item()
        assert measured.states[distance] == pytest.approx(norm, abs=1e-9)


def test_state_gradient_keeps_its_bound():
    task = Copy(200)
    network = connect(task, RNN, hidden_size=32, init="torch")
    with torch.no_grad():
        network.core.weight_hh_l0 *= 0.9 / torch.linalg.matrix_norm(network.core.weight_hh_l0, 2)
    (batch,) = fixed_batches(task, "val", Seeds(0), 4)
    states = gradient_over_distance(network, task, batch, 0).states
    for distance, norm in states.items():
        assert norm <= states[0] + distance * math.log10(0.9) + 1e-9, distance
    assert states[200] > -math.inf


def test_bare_attention_is_even():
    task = Copy(300)
    network = connect(task, Attention)
    norms = profile(network, task)
    (batch,) = fixed_batches(task, "val", Seeds(0), 4)
    wrong = torch.softmax(network(batch.inputs, batch.steps)[:, 0], -1) - nn.functional.one_hot(batch.targets[:, 0], 8)
    at_output = (wrong @ network.head.weight).norm(dim=-1).mean().item()
    assert list(norms.values()) == pytest.approx([math.log10(at_output / 301)] * len(norms), abs=1e-4)


@pytest.mark.parametrize("make", [LSTM, LSTMScratch])
def test_chrono_has_the_time_constant_it_is_given(make):
    t_max = 60
    task = Copy(3 * t_max)
    (batch,) = fixed_batches(task, "val", Seeds(0), 4)
    network = connect(task, make, hidden_size=64, init="chrono", t_max=t_max)
    norms = gradient_over_distance(network, task, batch, 0).norms
    distances = torch.arange(t_max, 3 * t_max + 1)
    slope = np.polyfit(distances, norms[t_max : 3 * t_max + 1], 1)[0]
    assert t_max / 2 < -math.log10(math.e) / slope < 2 * t_max


@pytest.mark.parametrize(("a", "half_life", "horizon"), [(0.5, 1.0, 9), (0.9, 6.5788, 65), (0.99, 68.968, 100)])
def test_scalars_of_a_linear_recurrence(a, half_life, horizon):
    task = Copy(100)
    (batch,) = fixed_batches(task, "val", Seeds(0), 4)
    scalars = gradient_over_distance(connect(task, Linear, a=a), task, batch, step=7).scalars
    assert scalars == {
        "step": 7,
        "decades_per_step": pytest.approx(-math.log10(a), rel=1e-6),
        "half_life": pytest.approx(half_life, rel=1e-4),
        "horizon": horizon,
        "log10_over_lag": pytest.approx(100 * math.log10(a), rel=1e-6),
        "state_log10_over_lag": None,
    }


def test_scalars_of_a_gradient_that_does_not_fall():
    scalars = Profile(0, 3, [0.0, 0.1, 0.2, 0.3, -9.0]).scalars  # beyond the lag nothing is asked
    assert scalars == {
        "step": 0,
        "decades_per_step": pytest.approx(-0.1),
        "half_life": None,
        "horizon": 3,
        "log10_over_lag": pytest.approx(0.3),
        "state_log10_over_lag": None,
    }


@pytest.mark.parametrize(
    ("norms", "slope", "horizon", "over_lag"),
    [
        ([0.0, -math.inf, -2.0, -math.inf], 1.0, 2, None),
        ([-math.inf, 0.0, -1.0, -2.0], 1.0, None, None),
        ([0.0], None, 0, 0.0),
        ([-math.inf] * 4, None, None, None),
    ],
)
def test_scalars_where_a_gradient_is_zero(norms, slope, horizon, over_lag):
    scalars = Profile(0, 3, norms).scalars
    assert (scalars["horizon"], scalars["log10_over_lag"]) == (horizon, over_lag)
    assert scalars["decades_per_step"] == (None if slope is None else pytest.approx(slope))


def test_schedule():
    assert [step for step in range(3001) if scheduled(step)] == [1, 3, 10, 30, 100, 300, 1000, 3000]


@pytest.mark.parametrize(("lag", "payload"), [(20, 1), (20, 3)])
def test_the_lag_is_the_distance_of_the_first_item(lag, payload):
    task = Copy(lag, payload)
    norms = profile(connect(task, Delay, lag=lag), task)
    assert list(norms) == [0, 1, 2, 4, 8, 16, 20]
    assert [distance for distance, norm in norms.items() if norm is not None] == [lag]


def test_exact_zero_is_null():
    task = Copy(20)
    norms = profile(connect(task, Linear, a=0.0), task)
    assert norms.pop(0) is not None
    assert set(norms.values()) == {None}


@pytest.mark.parametrize("size", [1.0, 1e-200, 1e-310, 1e200])
def test_log10_norm_neither_underflows_nor_overflows(size):
    vectors = size * torch.tensor([[3.0, 4.0], [0.0, 1.0]], dtype=torch.float64)
    expected = [math.log10(5) + math.log10(size), math.log10(size)]
    assert log10_norm(vectors).tolist() == pytest.approx(expected, abs=1e-9)


def test_log10_norm_of_zero():
    assert log10_norm(torch.zeros(2, 3, dtype=torch.float64)).tolist() == [-math.inf, -math.inf]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("make", [LSTM, LSTMScratch, Transformer])
def test_network_is_left_as_it_was(make, training):
    task = Copy(10)
    network = connect(task, make, hidden_size=8, num_layers=2, dropout=0.5).train(training)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    dropouts = [(module, module.p) for module in network.modules() if isinstance(module, nn.Dropout)]
    random_state = torch.get_rng_state()
    profile(network, task)
    assert all(module.training is training for module in network.modules())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())
    for name, value in network.state_dict().items():
        assert value.dtype == before[name].dtype
        assert torch.equal(value, before[name]), name
    assert all(module.p == p for module, p in dropouts)
    assert make is not LSTM or network.core.dropout == 0.5
    assert torch.equal(torch.get_rng_state(), random_state)


@pytest.mark.parametrize("make", [LSTM, LSTMScratch, GRU, Transformer])
def test_dropout_plays_no_part(make):
    task = Copy(10)
    dropping, plain = (connect(task, make, hidden_size=8, num_layers=2, dropout=p) for p in (0.5, 0.0))
    assert profile(dropping, task) == profile(plain, task)


def test_written_out_lstm_has_torchs_profile():
    task = Copy(100)
    stock, ours = (connect(task, make, hidden_size=16, num_layers=2) for make in (LSTM, LSTMScratch))
    ours.load_state_dict(stock.state_dict())
    assert profile(ours, task) == pytest.approx(profile(stock, task), abs=1e-8)
    (batch,) = fixed_batches(task, "val", Seeds(0), 4)
    by_state = [gradient_over_distance(network, task, batch, 0).states for network in (ours, stock)]
    assert by_state[0] == pytest.approx(by_state[1], abs=1e-8)


def test_a_core_without_a_state_has_no_state_gradient():
    task = Copy(10)
    (batch,) = fixed_batches(task, "val", Seeds(0), 4)
    measured = gradient_over_distance(connect(task, Transformer), task, batch, 0)
    assert measured.states == {}
    assert set(measured.points[0]) == {"step", "distance", "log10_norm"}


def test_chrono_carries_what_the_stock_lstm_loses():
    task = Copy(300)
    stock = profile(connect(task, LSTM, init="torch"), task)
    chrono = profile(connect(task, LSTM, init="chrono", t_max=300), task)
    assert stock[300] - stock[0] < -40
    assert -3 < chrono[300] - chrono[0] < 0


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("make", [RNN, LSTM, GRU])
def test_the_probe_of_torchs_layers_measures_what_torch_computes(make, layers: int, monkeypatch: pytest.MonkeyPatch):
    """It runs our own loop over time on the same weights."""
    task = Copy(lag=40)
    network = connect(task, make, hidden_size=8, num_layers=layers)
    ours = gradient_over_distance(network, task, task.batch(4, np.random.default_rng(0)), 0)
    assert network.core.kernels == "library"  # the network itself is left as it was
    monkeypatch.setattr(gradients, "Recurrent", type(None))
    theirs = gradient_over_distance(network, task, task.batch(4, np.random.default_rng(0)), 0)
    assert ours.norms == pytest.approx(theirs.norms, abs=1e-10)
    assert ours.states == pytest.approx(theirs.states, abs=1e-10)
