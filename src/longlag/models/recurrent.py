"""Adapts torch's own recurrent layers to the core contract: one constructor, one output, full precision."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from longlag.models.initialisation import initialise

State = Tensor | tuple[Tensor, ...]  # state of a recurrent core: h, or (h, C), each (layers, batch, hidden_size)


class Recurrent:
    """Mixin placed before `nn.RNN`, `nn.LSTM` or `nn.GRU`; the parameters keep torch's names and gate order.

    Args:
        input_size: width of the input.
        hidden_size: units per layer.
        num_layers: number of layers; each takes the outputs of the one below.
        dropout: probability of dropping an output between layers; needs at least two layers.
        init: scheme of `models/initialisation.py`.
        t_max: longest time scale of chrono initialisation, in steps.

    Raises:
        ValueError: if the scheme does not fit the architecture, or dropout is set with a single layer.
    """

    architecture: str
    weight_hh_l0: Tensor

    def __init__(
        self,
        input_size: int,
        hidden_size: int = 64,
        num_layers: int = 1,
        dropout: float = 0.0,
        init: str = "torch",
        t_max: float = 1000,
    ):
        check_dropout(dropout, num_layers)
        layer: Any = super()  # nn.RNN, nn.LSTM or nn.GRU
        layer.__init__(input_size, hidden_size, num_layers, batch_first=True, dropout=dropout)
        initialise(self, self.architecture, init, t_max, num_layers)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(batch, time, input_size) -> (batch, time, hidden_size): h_t of the top layer at every step."""
        return self.unroll(x)[0]

    def unroll(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Return the outputs and the final state, starting from a given state (zero by default).

        The state is torch's, each part (layers, batch, hidden_size). The computation is never in half precision, where
        a forget gate of .999 could round to 1.
        """
        layer: Any = super()
        with full_precision(x.device):
            outputs, state = layer.forward(x.to(self.weight_hh_l0.dtype), state)
        return outputs, state


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Context without autocast to half precision, on devices that support autocast (`meta` does not)."""
    known = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if known else nullcontext()


def check_dropout(dropout: float, num_layers: int) -> None:
    """Raise ValueError if dropout between layers is requested for a single layer."""
    if dropout > 0 and num_layers == 1:
        raise ValueError(f"model.dropout={dropout} acts between layers and needs model.num_layers of at least 2")
