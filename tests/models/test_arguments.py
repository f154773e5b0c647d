"""What a cell is given: states, sizes, types and devices that fit, or one line that says what does not."""

import copy
import pickle

import pytest
import torch
from torch import Tensor

from helpers.cells import CELLS, CLOSE, EXECUTIONS, STOCK, assert_same, everything, state_of
from longlag.models.gru import GRU
from longlag.models.lstm import LSTM
from longlag.models.lstm_scratch import LSTMScratch
from longlag.models.rnn import RNN
from longlag.models.scratch import Scratch

every_cell = pytest.mark.parametrize("make", CELLS)
every_execution = pytest.mark.parametrize(("impl", "memory"), EXECUTIONS)
BATCH, LAYERS, HIDDEN = 3, 2, 7


def given(parts: list[Tensor]) -> Tensor | tuple[Tensor, ...]:
    return tuple(parts) if len(parts) > 1 else parts[0]


@every_cell
@every_execution
@pytest.mark.parametrize(
    "size", [(2, 2, 7), (2, 1, 7), (2, 4, 7), (1, 3, 7), (3, 3, 7), (2, 3, 6), (2, 3, 1), (3, 7), (2, 3, 7, 1)]
)
def test_states_of_another_size_are_refused_as_torch_refuses_them(make, impl, memory, size):
    core, x = make(5, HIDDEN, LAYERS, impl=impl, memory=memory), torch.randn(BATCH, 6, 5)
    wrong, right = torch.randn(size), torch.randn(LAYERS, BATCH, HIDDEN)
    for place in range(core.parts):
        state = given([wrong if part == place else right for part in range(core.parts)])
        if make in STOCK:
            with pytest.raises(RuntimeError):
                STOCK[make](5, HIDDEN, LAYERS, batch_first=True)(x, state)
        with pytest.raises(RuntimeError) as refused:
            core.unroll(x, state)
        assert str(refused.value) == (
            f"expected {'hC'[place]} of the state as (layers, batch, hidden_size) = (2, 3, 7), got {size}"
        )


@every_cell
@every_execution
def test_states_of_another_number_are_refused(make, impl, memory):
    core, x = make(5, HIDDEN, LAYERS, impl=impl, memory=memory), torch.randn(BATCH, 6, 5)
    for number in {0, 1, 2, 3} - {core.parts}:
        expected = "one tensor, h" if core.parts == 1 else "two tensors, h and C"
        with pytest.raises(RuntimeError, match=f"expected a state of {expected}, got {number}"):
            core.unroll(x, (torch.zeros(LAYERS, BATCH, HIDDEN),) * number)


def test_a_single_tensor_is_no_state_of_an_lstm():
    with pytest.raises(RuntimeError, match="expected a state of two tensors, h and C, got 1"):
        LSTMScratch(5, HIDDEN, LAYERS).unroll(torch.randn(BATCH, 6, 5), torch.zeros(LAYERS, BATCH, HIDDEN))


@every_cell
@every_execution
def test_states_of_another_type_or_device_are_refused(make, impl, memory):
    core, x = make(5, HIDDEN, impl=impl, memory=memory), torch.randn(BATCH, 6, 5)
    for other, name in (({"dtype": torch.float64}, "float64 on cpu"), ({"device": "meta"}, "float32 on meta")):
        state = given([torch.zeros(1, BATCH, HIDDEN, **other)] * core.parts)
        with pytest.raises(RuntimeError, match=rf"expected h of the state in torch.float32 on cpu, got torch.{name}"):
            core.unroll(x, state)


@every_cell
@every_execution
def test_inputs_of_another_size_are_refused(make, impl, memory):
    core, x = make(5, HIDDEN, impl=impl, memory=memory), torch.randn(BATCH, 6, 5)
    with pytest.raises(ValueError, match=r"three dimensions, \(batch, time, input_size\), got \(6, 5\)"):
        core(x[0])
    with pytest.raises(ValueError, match=r"three dimensions, \(batch, time, input_size\), got \(1, 3, 6, 5\)"):
        core(x[None])
    with pytest.raises(RuntimeError, match=r"input_size=5, got 4, in \(3, 6, 4\)"):
        core(x[..., :4])
    with pytest.raises(RuntimeError, match=r"at least one step, got .* \(3, 0, 5\)"):
        core(x[:, :0])


@every_cell
@pytest.mark.parametrize("sizes", [(0, 7, 1), (5, 0, 1), (5, 7, 0), (5, 7, -1)])
def test_sizes_are_positive(make, sizes):
    with pytest.raises(ValueError, match=r"model\.\w+_\w+ must be greater than zero, got (0|-1)"):
        make(*sizes)


@every_execution
@pytest.mark.parametrize("make", STOCK)
def test_no_sequences_give_no_outputs_and_a_gradient_of_zero(make, impl, memory):
    stock, ours = STOCK[make](5, 7, 2, batch_first=True), make(5, 7, 2, impl=impl, memory=memory)
    ours.load_state_dict(stock.state_dict())
    x, state = torch.randn(0, 6, 5), state_of(stock, 0)
    assert_same(everything(ours, x, state), everything(stock, x, state), rtol=0, atol=0)


@every_cell
@every_execution
def test_states_need_not_be_contiguous(make, impl, memory):
    core = make(5, HIDDEN, LAYERS, impl=impl, memory=memory).double()
    x = torch.randn(BATCH, 6, 5).double()
    state = [torch.randn(HIDDEN, BATCH, LAYERS).double().permute(2, 1, 0) for _ in range(core.parts)]
    shared = [torch.randn(LAYERS, 1, HIDDEN).double().expand(-1, BATCH, -1) for _ in range(core.parts)]
    for parts in (state, shared):
        assert_same(everything(core, x, parts), everything(core, x, [p.contiguous() for p in parts]), **CLOSE)


@every_cell
@pytest.mark.parametrize("memory", ["normal", "low"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_as_exact_as_the_reference(make, memory, dtype):
    torch.manual_seed(0)
    truth, reference, fused = (
        make(5, HIDDEN, impl=impl, memory=memory) for impl in ("reference", "reference", "fused")
    )
    for core in (reference, fused):
        core.load_state_dict(truth.state_dict())
        core.to(dtype)
    x, state = torch.randn(BATCH, 20, 5), state_of(truth, BATCH)
    true = everything(truth, x, state)
    known, found = (everything(core, x.to(dtype), [s.to(dtype) for s in state]) for core in (reference, fused))
    for name, value in true.items():
        assert found[name].dtype == dtype
        error, allowed = ((result[name].float() - value).norm() for result in (found, known))
        assert error <= 4 * allowed + torch.finfo(dtype).eps * value.norm(), name


@pytest.mark.parametrize("make", [*CELLS, LSTM, GRU, RNN])
def test_runs_without_numbers_on_meta(make):
    core = make(5, HIDDEN, LAYERS).to("meta")
    outputs = core(torch.randn(BATCH, 6, 5, device="meta"))
    outputs.sum().backward()
    assert outputs.is_meta
    assert outputs.shape == (BATCH, 6, HIDDEN)
    assert core.weight_hh_l0.grad.shape == core.weight_hh_l0.shape


@every_cell
@every_execution
def test_each_source_may_want_a_gradient_alone(make, impl, memory):
    core = make(5, HIDDEN, LAYERS, impl=impl, memory=memory).double()
    x, state = torch.randn(BATCH, 6, 5).double(), state_of(core, BATCH)
    expected = everything(core, x, state)
    sources = {"x": x} | {f"state {part}": value for part, value in enumerate(state)} | dict(core.named_parameters())
    for name, source in sources.items():
        for other in sources.values():
            other.requires_grad_(other is source)
        outputs, end = core.unroll(x, given(state))
        generator = torch.Generator().manual_seed(1)
        parts = [outputs, *([end] if isinstance(end, Tensor) else end)]
        loss = sum((part * torch.randn(part.shape, generator=generator).to(part.dtype)).sum() for part in parts)
        torch.testing.assert_close(torch.autograd.grad(loss, source)[0], expected[f"gradient of {name}"])


@every_cell
@every_execution
def test_outputs_are_the_same_without_gradients(make, impl, memory):
    core, x = make(5, HIDDEN, LAYERS, impl=impl, memory=memory), torch.randn(BATCH, 6, 5)
    expected = core(x)
    assert expected.requires_grad
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            found = core(x)
        assert not found.requires_grad
        assert torch.equal(found, expected)


@every_cell
def test_copies_and_pickles_are_the_same_core(make):
    core, x = make(5, HIDDEN, LAYERS, memory="low"), torch.randn(BATCH, 6, 5)
    for other in (copy.deepcopy(core), pickle.loads(pickle.dumps(core))):
        assert isinstance(other, Scratch)
        assert (other.impl, other.memory) == ("auto", "low")
        assert torch.equal(other(x), core(x))


OUT_OF_RANGE = [  # the fused GRU multiplies an input by weights of 0, which makes an infinite one NaN
    (impl, memory, value)
    for impl, memory in EXECUTIONS[1:]
    for value in (float("nan"), -1e30, *((float("inf"), -float("inf")) if impl == "native" else ()))
]


@every_cell
@pytest.mark.parametrize(("impl", "memory", "value"), OUT_OF_RANGE)
def test_numbers_out_of_range_spread_as_in_the_reference(make, impl, memory, value):
    torch.manual_seed(0)
    core, reference = make(5, HIDDEN, impl=impl, memory=memory), make(5, HIDDEN, impl="reference")
    core.load_state_dict(reference.state_dict())
    x, state = torch.randn(BATCH, 6, 5), state_of(core, BATCH)
    x[0, 2, 1] = value
    found, expected = everything(core, x, state), everything(reference, x, state)
    for name, known in expected.items():
        largest = known[known.isfinite()].abs().max().item() if known.isfinite().any() else 0.0
        close = {"rtol": 1.3e-6, "atol": max(1e-5, 1e-6 * largest)}  # the ReLU lets a number of any size through
        torch.testing.assert_close(found[name], known, equal_nan=True, **close, msg=name)
