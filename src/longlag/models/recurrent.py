"""Adapts torch's own recurrent layers to the core contract: one constructor, one output, full precision."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from longlag.models.initialisation import initialise
from longlag.models.kernels import native
from longlag.models.kernels.bptt import over_time, rewritten
from longlag.models.kernels.choice import Choice
from longlag.models.kernels.fused_cell import Fused
from longlag.models.kernels.native.cells import is_readable, runner

State = Tensor | tuple[Tensor, ...]  # state of a recurrent core: h, or (h, C), each (layers, batch, hidden_size)


class Recurrent(Choice):
    """Mixin placed before `nn.RNN`, `nn.LSTM` or `nn.GRU`; the parameters keep torch's names and gate order.

    Its `kernels` choose who computes; see `kernels/choice.py`.

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
    fused: Fused  # the cell of our own kernels
    options: ClassVar[dict[str, str]] = {}  # further arguments of torch's layer
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
        layer.__init__(input_size, hidden_size, num_layers, batch_first=True, dropout=dropout, **self.options)
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
            x = x.to(self.weight_hh_l0.dtype)
            states = () if state is None else (state,) if isinstance(state, Tensor) else state
            usual = x.dim() == 3 and x.shape[1] > 0  # the library takes, or refuses, everything else
            ran = self._runs(x, *states) if usual else "library"
            return layer.forward(x, state) if ran == "library" else self._unroll(x, state, ran == "native")

    @property
    def ran(self) -> str:
        """Who computes for inputs of the parameters' type and device: native, library or fused."""
        return self._runs()

    def _runs(self, *given: Tensor) -> str:
        """Who computes for these inputs and states: native, library or fused."""
        if self.kernels == "native" and not rewritten():
            layer: Any = self
            can = all(map(is_readable, (*given, *layer.parameters()))) and native.kernels() is not None
            return "native" if can else "library"
        return "fused" if self.kernels == "fused" and not rewritten() else "library"

    def _unroll(self, x: Tensor, state: State | None, in_c: bool) -> tuple[Tensor, State]:
        """`unroll` by our own loop over time, in C or in torch."""
        layer: Any = self
        parts = 2 if self.fused.has_memory else 1
        if state is None:
            zero = x.new_zeros(layer.num_layers, len(x), layer.hidden_size)
            state = zero if parts == 1 else (zero, zero)
        layer.check_forward_args(x, state, None)  # torch's own errors
        begin = (state,) if isinstance(state, Tensor) else state
        run, ends = runner(native.kernels()) if in_c else None, []
        for number in range(layer.num_layers):
            x = F.dropout(x, layer.dropout, layer.training) if number else x
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            weights = [getattr(self, f"{name}_l{number}") for name in names]
            x, *end = over_time(self.fused, False, x, tuple(part[number] for part in begin), weights, run)
            ends.append(end)
        end_parts = tuple(torch.stack(part) for part in zip(*ends, strict=True))
        return x, end_parts if parts == 2 else end_parts[0]


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Context without autocast to half precision, on devices that support autocast (`meta` does not)."""
    known = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if known else nullcontext()


def check_dropout(dropout: float, num_layers: int) -> None:
    """Raise ValueError if dropout between layers is requested for a single layer."""
    if dropout > 0 and num_layers == 1:
        raise ValueError(f"model.dropout={dropout} acts between layers and needs model.num_layers of at least 2")
