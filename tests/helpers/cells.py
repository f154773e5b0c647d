"""The recurrent cells from scratch, those of the library they must equal, and how they are run."""

import torch
from torch import Tensor, nn

from longlag.models.gru_scratch import GRUScratch
from longlag.models.lstm_1997 import LSTM1997
from longlag.models.lstm_peephole import LSTMPeephole
from longlag.models.lstm_scratch import LSTMScratch
from longlag.models.rnn_scratch import ReLURNNScratch, RNNScratch
from longlag.models.scratch import Scratch

STOCK = {LSTMScratch: nn.LSTM, GRUScratch: nn.GRU, RNNScratch: nn.RNN}


CELLS = (*STOCK, LSTM1997, LSTMPeephole, ReLURNNScratch)


EXECUTIONS = (("reference", "normal"), ("fused", "normal"), ("fused", "low"), ("native", "normal"))


CLOSE = {"rtol": 0.0, "atol": 1e-10}


def state_of(core: nn.Module, batch: int) -> list[Tensor]:
    """A random one, each part (layers, batch, hidden_size)."""
    parts = 2 if isinstance(core, nn.LSTM) or getattr(core, "parts", 1) == 2 else 1
    like = core.get_parameter("weight_hh_l0")
    return [torch.randn(core.num_layers, batch, core.hidden_size, dtype=like.dtype) for _ in range(parts)]


def everything(core: nn.Module, x: Tensor, state: list[Tensor]) -> dict[str, Tensor]:
    """Outputs, final states and all gradients, of a loss that hangs on all outputs and states."""
    x, state = (
        x.clone(memory_format=torch.preserve_format).requires_grad_(),
        [s.clone().requires_grad_() for s in state],
    )
    given = tuple(state) if len(state) > 1 else state[0]
    outputs, end = core.unroll(x, given) if isinstance(core, Scratch) else core(x, given)
    ends = [end] if isinstance(end, Tensor) else list(end)
    generator = torch.Generator().manual_seed(1)
    loss = sum((part * torch.randn(part.shape, generator=generator).to(part.dtype)).sum() for part in [outputs, *ends])
    wanted = {"x": x} | {f"state {k}": part for k, part in enumerate(state)} | dict(core.named_parameters())
    gradients = torch.autograd.grad(loss, list(wanted.values()))
    found = {"outputs": outputs} | {f"end {k}": part for k, part in enumerate(ends)}
    return found | {f"gradient of {name}": value for name, value in zip(wanted, gradients, strict=True)}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor], **close: float) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, **close, msg=lambda text, name=name: f"{name}: {text}")
