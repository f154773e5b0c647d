"""What every cell from scratch has in common: parameters, layers, time. A cell adds its equations, one step of them."""

import math
from collections.abc import Callable, Iterator
from typing import ClassVar

import torch
from torch import Tensor, nn

from longlag.models.initialisation import GATES, initialise
from longlag.models.kernels.bptt import over_time
from longlag.models.kernels.fused_cell import Fused
from longlag.models.recurrent import State, check_dropout

Step = tuple[tuple[Tensor, ...], tuple[Tensor, ...]]  # what a step gives: the parts of the state, the gates
IMPLEMENTATIONS = ("fused", "reference")
MEMORIES = ("normal", "low")


class Scratch(nn.Module):
    """A recurrent core whose equations are our own. The parameters have torch's names and gate order.

    Args:
        input_size: width of the input.
        hidden_size: units per layer.
        num_layers: layers, each reading the outputs of the one below.
        dropout: probability of dropping an output between layers; needs at least two.
        init: scheme of `models/initialisation.py`.
        t_max: longest time scale of chrono initialisation, in steps.
        impl: `reference`, the equations under autograd; `fused`, the same numbers faster (`kernels/bptt.py`).
        memory: of `fused`; `low` computes the gates again on the way back instead of keeping them.

    Raises:
        ValueError: where the scheme does not fit, dropout has no layers to stand between, or a name is unknown.
    """

    architecture: ClassVar[str]  # of `models/initialisation.py`, which knows its gates
    extra: ClassVar[dict[str, int]] = {}  # parameters beside torch's, by name: how many hidden_size they are long
    parts: ClassVar[int] = 1  # of the state: h, or h and C
    step: ClassVar[Callable[..., Step]]  # Wx_t, the parts of the state, U, b, extra -> the next state, the gates
    fused: ClassVar[Fused]

    def __init__(
        self,
        input_size: int,
        hidden_size: int = 64,
        num_layers: int = 1,
        dropout: float = 0.0,
        init: str = "torch",
        t_max: float = 1000,
        impl: str = "fused",
        memory: str = "normal",
    ):
        super().__init__()
        check_dropout(dropout, num_layers)
        _check_name("impl", impl, IMPLEMENTATIONS)
        _check_name("memory", memory, MEMORIES)
        self.hidden_size, self.num_layers, self.impl, self.memory = hidden_size, num_layers, impl, memory
        self.between_layers = nn.Dropout(dropout)
        rows = len(GATES[self.architecture]) * hidden_size
        for layer in range(num_layers):
            width = input_size if layer == 0 else hidden_size
            sizes = {
                "weight_ih": (rows, width),
                "weight_hh": (rows, hidden_size),
                "bias_ih": (rows,),
                "bias_hh": (rows,),
            }
            for name, size in (sizes | {name: (n * hidden_size,) for name, n in self.extra.items()}).items():
                self.register_parameter(f"{name}_l{layer}", nn.Parameter(torch.empty(size)))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -1 / math.sqrt(hidden_size), 1 / math.sqrt(hidden_size))
        initialise(self, self.architecture, init, t_max, num_layers)
        for layer in range(num_layers if init != "torch" else 0):
            for name in self.extra:
                nn.init.zeros_(getattr(self, f"{name}_l{layer}"))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, time, input_size) -> (batch, time, hidden_size), the top layer's h_t at every step."""
        return self.unroll(x)[0]

    def unroll(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The same from a state on, zero by default, with the one it ends in: h, or (h, C).

        Each part is (layers, batch, hidden_size). Never in half precision, where a forget gate of .999 rounds to 1.
        """
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(self.weights(0)[0].dtype)
            zero = x.new_zeros(self.num_layers, x.shape[0], self.hidden_size)
            begin = (zero,) * self.parts if state is None else (state,) if isinstance(state, Tensor) else state
            ends = []
            for layer in range(self.num_layers):
                x = self.between_layers(x) if layer else x
                x, *end = self._over_time(layer, x, *(part[layer] for part in begin))
                ends.append(end)
        parts = tuple(torch.stack(part) for part in zip(*ends, strict=True))
        return x, parts if self.parts > 1 else parts[0]

    def weights(self, layer: int) -> list[Tensor]:
        """W, U, b_ih, b_hh of a layer, and what else the cell has."""
        names = "weight_ih", "weight_hh", "bias_ih", "bias_hh", *self.extra
        return [getattr(self, f"{name}_l{layer}") for name in names]

    def _over_time(self, layer: int, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """One layer: (batch, time, width), from (batch, hidden_size) parts on -> outputs and the parts at the end."""
        if self.impl == "fused":
            return over_time(self.fused, self.memory == "low", x, state, self.weights(layer))
        return loop(type(self).step, x, state, self.weights(layer))


def loop(step: Callable[..., Step], x: Tensor, state: tuple[Tensor, ...], weights: list[Tensor]) -> tuple[Tensor, ...]:
    """The equations under autograd, step by step; arguments and result as of `over_time`."""
    steps = list(unrolled(step, x, state, weights))
    return torch.stack([h for (h, *_), _ in steps], dim=1), *steps[-1][0]


def unrolled(step: Callable[..., Step], x: Tensor, state: tuple[Tensor, ...], weights: list[Tensor]) -> Iterator[Step]:
    """Each step's state and gates, (batch, hidden_size) each, of x (batch, time, width)."""
    W, U, b_ih, b_hh, *extra = weights
    for Wx_t in (x @ W.T + b_ih).unbind(1):  # (batch, gates hidden_size); unbind once: indexing would be O(time^2)
        state, gates = step(Wx_t, *state, U, b_hh, *extra)
        yield state, gates


def _check_name(what: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        raise ValueError(f"model.{what} must be one of {', '.join(known)}, got {name}")
