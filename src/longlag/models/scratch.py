"""What every cell from scratch has in common: parameters, layers, time. A cell adds its equations, one step of them."""

import math
from collections.abc import Callable, Iterator
from typing import ClassVar

import torch
from torch import Tensor, nn

from longlag.models.initialisation import GATES, initialise
from longlag.models.kernels.bptt import over_time
from longlag.models.kernels.fused_cell import Fused
from longlag.models.recurrent import State, check_dropout, full_precision

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
        impl: `reference`, the equations under autograd; `fused`, the same function faster (`kernels/bptt.py`), to
            within a few times the rounding errors of the reference, and once differentiable. Where torch rewrites what
            is computed (`torch.func`, `torch.compile`, `torch.export`, tracing), the equations are run in either case.
        memory: of `fused`; `low` computes the gates again on the way back instead of keeping them.

    Raises:
        ValueError: where the scheme does not fit, dropout has no layers to stand between, a name is unknown, or a size
            is not positive.
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
        _check_positive(input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
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

        Raises:
            ValueError: where x has not three dimensions.
            RuntimeError: where a size, or the type of the state, is not as expected, or there is no step.
        """
        W = self.weights(0)[0]
        _check_input(x, W.shape[1])
        with full_precision(x.device):
            x, ends = x.to(W.dtype), []
            begin = self._begin(x, state)
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

    def _begin(self, x: Tensor, state: State | None) -> tuple[Tensor, ...]:
        """The parts of the state to begin with, of the sizes that x asks for."""
        size = (self.num_layers, len(x), self.hidden_size)
        if state is None:
            return (x.new_zeros(size),) * self.parts
        parts = (state,) if isinstance(state, Tensor) else tuple(state)
        if len(parts) != self.parts:
            expected = "one tensor, h" if self.parts == 1 else "two tensors, h and C"
            raise RuntimeError(f"expected a state of {expected}, got {len(parts)}")
        for name, part in zip("hC", parts, strict=False):
            _check_state(f"{name} of the state", part, size, x)
        return parts

    def _over_time(self, layer: int, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """One layer: (batch, time, width), from (batch, hidden_size) parts on -> outputs and the parts at the end."""
        if self.impl == "fused" and not _rewritten():
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


def _rewritten() -> bool:
    """Whether torch transforms, compiles or traces what is computed, which it can do with the equations alone."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing() or torch._C._are_functorch_transforms_active()


def _check_input(x: Tensor, input_size: int) -> None:
    if x.dim() != 3:
        raise ValueError(f"expected an input of three dimensions, (batch, time, input_size), got {tuple(x.shape)}")
    if x.shape[2] != input_size:
        raise RuntimeError(f"expected an input of input_size={input_size}, got {x.shape[2]}, in {tuple(x.shape)}")
    if x.shape[1] == 0:
        raise RuntimeError(f"expected an input of at least one step, got (batch, time, input_size) = {tuple(x.shape)}")


def _check_state(what: str, part: Tensor, size: tuple[int, ...], like: Tensor) -> None:
    if part.shape != size:
        raise RuntimeError(f"expected {what} as (layers, batch, hidden_size) = {size}, got {tuple(part.shape)}")
    if (part.dtype, part.device) != (like.dtype, like.device):
        expected, got = (f"{tensor.dtype} on {tensor.device}" for tensor in (like, part))
        raise RuntimeError(f"expected {what} in {expected}, got {got}")


def _check_positive(**sizes: int) -> None:
    for name, size in sizes.items():
        if size <= 0:
            raise ValueError(f"model.{name} must be greater than zero, got {size}")


def _check_name(what: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        raise ValueError(f"model.{what} must be one of {', '.join(known)}, got {name}")
