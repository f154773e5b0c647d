"""The native kernels compute what the equations do, for any shape and strides, in float32 and in float64."""

import ctypes
import random
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from helpers.cells import CELLS, CLOSE, STOCK, assert_same, everything, state_of
from longlag.models.kernels.fused_lstm import FusedLSTM
from longlag.models.kernels.native import cells, kernels
from longlag.models.lstm_scratch import LSTMScratch
from longlag.models.rnn_scratch import ReLURNNScratch
from longlag.models.scratch import Scratch

every_cell = pytest.mark.parametrize("make", CELLS)
TIMES, ROUNDINGS = 10, 4 * torch.finfo(torch.float32).eps  # as in test_precision


@pytest.fixture(autouse=True)
def _compiled() -> None:
    torch.manual_seed(0)
    if kernels() is None:
        pytest.skip("there are no native kernels on this machine")


def strided(size: tuple[int, ...], draw: random.Random) -> Tensor:
    """Random numbers of a size, with the dimensions in any order in memory and gaps between the elements."""
    order = draw.sample(range(len(size)), len(size))
    gaps = [draw.choice((1, 1, 2, 3)) for _ in size]
    full = torch.randn([size[d] * gaps[d] for d in order]).permute([order.index(d) for d in range(len(size))])
    return full[tuple(slice(None, None, gap) for gap in gaps)]


def case(make: type[Scratch], seed: int, longest: int) -> tuple[Scratch, Scratch, Tensor, list[Tensor]]:
    """The native core, the reference with its weights, an input and a state, all of a random shape."""
    draw = random.Random(f"{make.__name__} {seed}")
    time = round(longest ** draw.random())
    batch, hidden, layers, width = (draw.randint(1, most) for most in (33, 130, 3, 20))
    native, reference = (make(width, hidden, layers, impl=impl) for impl in ("native", "reference"))
    reference.load_state_dict(native.state_dict())
    x, state = strided((batch, time, width), draw), state_of(native, batch)
    return native, reference, x, [strided(tuple(part.shape), draw) for part in state]


def assert_exact(make: type[Scratch], seed: int, longest: int) -> None:
    """The error from the equations in float64 is at most ten times that of the equations in float32."""
    native, reference, x, state = case(make, seed, longest)
    assert native.ran == "native"
    found, known = everything(native, x, state), everything(reference, x, state)
    true = everything(reference.double(), x.double(), [part.double() for part in state])
    for name, truth in true.items():
        error, usual = ((values[name].double() - truth).norm() / truth.norm() for values in (found, known))
        assert error <= TIMES * max(usual, ROUNDINGS), (name, tuple(x.shape), native.hidden_size, native.num_layers)


@every_cell
@pytest.mark.parametrize("seed", range(8))
def test_random_shapes(make, seed):
    assert_exact(make, seed, longest=100)


@pytest.mark.slow
@every_cell
@pytest.mark.parametrize("decade", range(12))
def test_random_shapes_over_a_thousand_steps(make, decade):
    """720 shapes in all."""
    for seed in range(10 * decade, 10 * decade + 10):
        assert_exact(make, 1000 + seed, longest=1000)


@every_cell
@pytest.mark.usefixtures("kernels_in_double")
@pytest.mark.parametrize("seed", range(8))
def test_equals_the_reference_in_double(make, seed):
    native, reference, x, state = case(make, seed, longest=50)
    native, reference = native.double(), reference.double()
    assert native.ran == "native"
    x, state = x.double(), [part.double() for part in state]
    assert_same(everything(native, x, state), everything(reference, x, state), **CLOSE)


@pytest.mark.usefixtures("kernels_in_double")
@pytest.mark.parametrize("make", STOCK)
def test_equals_torch_in_double(make):
    stock, ours = STOCK[make](5, 7, 2, batch_first=True).double(), make(5, 7, 2, impl="native").double()
    ours.load_state_dict(stock.state_dict())
    x, state = torch.randn(3, 22, 5).double(), state_of(stock, 3)
    assert_same(everything(ours, x, state), everything(stock, x, state), **CLOSE)


@pytest.mark.usefixtures("kernels_in_double")
def test_the_relu_equals_torchs_in_double():
    stock = torch.nn.RNN(5, 7, 2, batch_first=True, nonlinearity="relu").double()
    ours = ReLURNNScratch(5, 7, 2, impl="native").double()
    ours.load_state_dict(stock.state_dict())
    x, state = torch.randn(3, 22, 5).double(), state_of(stock, 3)
    assert_same(everything(ours, x, state), everything(stock, x, state), **CLOSE)


@every_cell
@pytest.mark.usefixtures("kernels_in_double")
def test_gradcheck_over_several_chunks(make, monkeypatch):
    monkeypatch.setattr(cells, "ROWS", 4)  # chunks of two steps, and one of one
    core = make(2, 3, num_layers=2, impl="native").double()
    x, state = torch.randn(2, 5, 2).double().requires_grad_(), [part.requires_grad_() for part in state_of(core, 2)]

    def outputs(*_: Tensor) -> tuple[Tensor, ...]:
        found, end = core.unroll(x, tuple(state) if core.parts > 1 else state[0])
        return found, *([end] if isinstance(end, Tensor) else end)

    assert core.ran == "native"
    assert torch.autograd.gradcheck(outputs, [x, *state, *core.parameters()])  # which perturbs them in place


@every_cell
def test_chunks_do_not_change_the_results(make, monkeypatch):
    core, x = make(5, 20, impl="native"), torch.randn(3, 100, 5)
    one = everything(core, x, state_of(core, 3))
    torch.manual_seed(0)
    make(5, 20), torch.randn(3, 100, 5)  # the same state is drawn again
    monkeypatch.setattr(cells, "ROWS", 21)
    other = everything(core, x, state_of(core, 3))
    assert_same(other, one, rtol=1e-5, atol=1e-5)
    assert all(torch.equal(other[name], one[name]) for name in one if not name.startswith("gradient"))


@every_cell
@pytest.mark.parametrize("wanted", ["x", "state 0", "weight_ih_l0", "weight_hh_l0", "bias_hh_l0"])
def test_a_gradient_wanted_alone_is_the_same(make, wanted):
    core, x, state = make(5, 20, impl="native"), torch.randn(3, 40, 5), state_of(make(5, 20), 3)
    expected = everything(core, x, state)[f"gradient of {wanted}"]
    for parameter in core.parameters():
        parameter.requires_grad_(False)
    sources = {"x": x, "state 0": state[0]} | dict(core.named_parameters())
    source = sources[wanted].requires_grad_()
    outputs, end = core.unroll(x, tuple(state) if len(state) > 1 else state[0])
    generator = torch.Generator().manual_seed(1)
    ends = [end] if isinstance(end, Tensor) else end
    loss = sum((part * torch.randn(part.shape, generator=generator)).sum() for part in [outputs, *ends])
    (found,) = torch.autograd.grad(loss, source)
    assert torch.equal(found, expected)


@every_cell
def test_an_incoming_gradient_of_any_strides(make):
    core, x = make(5, 32, impl="native"), torch.randn(3, 40, 5)
    sources = list(core.parameters())
    incoming = torch.randn(3, 40, 32)
    spread = torch.randn(32, 40, 3, 2).permute(2, 1, 0, 3)[..., 0].copy_(incoming)
    expected = torch.autograd.grad(core(x), sources, incoming)
    assert all(map(torch.equal, torch.autograd.grad(core(x), sources, spread), expected))
    one = torch.ones(1).expand(3, 40, 32)  # no strides at all, as from outputs.sum()
    expected = torch.autograd.grad(core(x), sources, one.contiguous())
    assert all(map(torch.equal, torch.autograd.grad(core(x), sources, one), expected))


@every_cell
def test_a_tensor_that_stands_for_its_negative_is_read_as_such(make):
    core, x = make(5, 32, impl="native"), torch.randn(3, 40, 5)
    lazy = torch.complex(torch.zeros_like(x), -x).conj().imag
    assert lazy.is_neg()
    assert torch.equal(core(lazy), core(x))
    incoming = torch.randn(3, 40, 32)
    lazy = torch._neg_view(-incoming)
    expected, found = (torch.autograd.grad(core(x), list(core.parameters()), g) for g in (incoming, lazy))
    assert all(map(torch.equal, found, expected))


@every_cell
def test_nothing_is_kept_without_a_gradient(make):
    core, x = make(5, 20, impl="native"), torch.randn(3, 40, 5)
    for parameter in core.parameters():
        parameter.requires_grad_(False)
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(kept.append, lambda tensor: tensor):
        outputs = core(x)
    assert not kept
    assert not outputs.requires_grad


def test_what_has_no_kernel_runs_as_fused():
    assert LSTMScratch(2, 3).ran == "native"
    assert LSTMScratch(2, 3, impl="fused").ran == "fused"
    assert LSTMScratch(2, 3, impl="reference").ran == "reference"
    for impl in ("auto", "native"):
        assert LSTMScratch(2, 3, impl=impl).double().ran == "fused"
        assert LSTMScratch(2, 3, impl=impl, memory="low").ran == "fused"
        assert LSTMScratch(2, 3, impl=impl).to("meta").ran == "fused"


def test_a_cell_with_other_equations_has_no_kernel():
    class Other(FusedLSTM):
        pass

    class OtherScratch(LSTMScratch):
        fused: ClassVar = Other()

    assert OtherScratch(2, 3, impl="native").ran == "fused"


@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_functions_are_exact_to_a_few_roundings(name, double_kernels):
    sizes = torch.logspace(-30, 1.9, 40_000, dtype=torch.float64)
    x = torch.cat([sizes, -sizes, torch.linspace(-20, 20, 40_000, dtype=torch.float64)])
    for library, dtype in ((kernels(), torch.float32), (double_kernels, torch.float64)):
        given, found = x.to(dtype), torch.empty(len(x), dtype=dtype)
        run(library, name, given, found)
        true = getattr(torch, name)(given.double())
        error = ((found.double() - true) / true).abs().max().item()
        assert error <= 4 * torch.finfo(dtype).eps


def test_functions_at_the_ends_of_the_range(double_kernels):
    inf, nan = float("inf"), float("nan")
    for library, dtype in ((kernels(), torch.float32), (double_kernels, torch.float64)):
        x = torch.tensor([inf, -inf, nan, 0.0, -0.0, 1e30, -1e30, 1000.0, -1000.0] + 7 * [0.0], dtype=dtype)
        for name in ("sigmoid", "tanh"):
            found = torch.empty_like(x)
            run(library, name, x, found)
            true = getattr(torch, name)(x)
            assert torch.equal(found.nan_to_num(7), true.nan_to_num(7))
            assert torch.equal(found.signbit(), true.signbit())


def run(library: ctypes.CDLL | None, name: str, x: Tensor, y: Tensor) -> None:
    assert library is not None
    assert len(x) % library.lanes() == 0
    getattr(library, f"{name}_array")(len(x) // library.lanes(), x.data_ptr(), y.data_ptr())
