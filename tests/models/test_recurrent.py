"""Torch's recurrent layers as cores: the same numbers as torch's, in full precision whatever the trainer asks for."""

import copy

import pytest
import torch
from torch import Tensor, nn

from helpers.cells import state_of
from longlag.models.gru import GRU
from longlag.models.gru_scratch import GRUScratch
from longlag.models.kernels.native import kernels
from longlag.models.lstm import LSTM
from longlag.models.lstm_1997 import LSTM1997
from longlag.models.lstm_peephole import LSTMPeephole
from longlag.models.lstm_scratch import LSTMScratch
from longlag.models.rnn import RNN
from longlag.models.rnn_scratch import RNNScratch

STOCK = {RNN: nn.RNN, LSTM: nn.LSTM, GRU: nn.GRU}


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("make", STOCK)
def test_core_is_torchs_layer(make, layers):
    core = make(5, 7, layers)
    stock = STOCK[make](5, 7, layers, batch_first=True)
    stock.load_state_dict(core.state_dict(), strict=True)
    x = torch.randn(3, 10, 5)
    assert torch.equal(core(x), stock(x)[0])


@pytest.mark.parametrize("make", [*STOCK, LSTMScratch, LSTM1997, LSTMPeephole, GRUScratch, RNNScratch])
def test_arithmetic_stays_in_float32(make):
    core, head = make(5, 64), nn.Linear(64, 8)
    x = torch.randn(3, 30, 5).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        hidden = core(x)
        assert head(hidden).dtype == torch.bfloat16
    assert hidden.dtype == torch.float32
    assert torch.equal(hidden, core(x.float()))


@pytest.mark.parametrize("make", STOCK)
def test_dropout_needs_two_layers(make):
    with pytest.raises(ValueError, match="num_layers of at least 2"):
        make(5, 7, num_layers=1, dropout=0.1)


def pair(make: type[nn.Module], layers: int, **options: float) -> tuple[nn.Module, nn.Module]:
    """The core by torch and by our kernels, with the same weights."""
    torch.manual_seed(0)
    library, native = (make(5, 20, layers, **options) for _ in range(2))
    native.load_state_dict(library.state_dict(), strict=True)
    native.kernels = "native"
    return library, native


@pytest.mark.usefixtures("kernels_in_double")
@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("make", STOCK)
def test_native_kernels_compute_the_same(make, layers, given):
    found = []
    for core in pair(make, layers):
        core.double()
        assert core.ran == core.kernels
        torch.manual_seed(1)
        x, state = torch.randn(3, 30, 5).double().requires_grad_(), [s.requires_grad_() for s in state_of(core, 3)]
        outputs, end = core.unroll(x, (state[0] if len(state) == 1 else tuple(state)) if given else None)
        ends = [end] if isinstance(end, Tensor) else list(end)
        loss = sum((part * torch.randn(part.shape, dtype=part.dtype)).sum() for part in (outputs, *ends))
        sources = [x, *core.parameters(), *(state if given else [])]
        found.append([outputs, *ends, *torch.autograd.grad(loss, sources)])
    for library, native in zip(*found, strict=True):
        torch.testing.assert_close(native, library, rtol=0, atol=1e-10)


@pytest.mark.parametrize("make", STOCK)
def test_native_kernels_run_in_float32_and_library_elsewhere(make):
    library, native = pair(make, 2)
    x = torch.randn(3, 30, 5)
    if kernels() is not None:
        assert (library.ran, native.ran) == ("library", "native")
    torch.testing.assert_close(native(x), library(x))
    assert copy.deepcopy(native).kernels == "native"
    native.double()
    assert native.ran == "library"
    assert torch.equal(native(x), library.double()(x))


@pytest.mark.parametrize("make", STOCK)
def test_native_kernels_drop_between_the_layers_in_training_alone(make):
    _, native = pair(make, 2, dropout=0.5)
    x = torch.randn(3, 30, 5)
    assert not torch.equal(native(x), native(x))
    assert torch.equal(native.eval()(x), native(x))


@pytest.mark.parametrize("make", STOCK)
@pytest.mark.parametrize("kernels", ["library", "native"])
def test_states_and_inputs_that_do_not_fit_are_refused(make, kernels):
    core = make(5, 20, 2)
    core.kernels = kernels
    with pytest.raises(RuntimeError, match="input"):
        core(torch.randn(3, 30, 6))
    wrong = torch.randn(2, 4, 20)
    with pytest.raises(RuntimeError, match=r"[Ee]xpected hidden"):
        core.unroll(torch.randn(3, 30, 5), (wrong, wrong) if make is LSTM else wrong)


@pytest.mark.parametrize("make", STOCK)
def test_inputs_without_a_batch_or_without_steps_are_left_to_the_library(make):
    library, native = pair(make, 2)
    x = torch.randn(30, 5)
    assert torch.equal(native(x), library(x))
    with pytest.raises(RuntimeError, match="sequence length to be larger than 0"):
        native(torch.randn(3, 0, 5))
    assert native(torch.randn(0, 30, 5)).shape == (0, 30, 20)


def test_unknown_kernels_are_refused():
    with pytest.raises(ValueError, match="kernels must be one of library, native, fused, got own"):
        LSTM(5, 7).kernels = "own"
