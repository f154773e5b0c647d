"""The common part of all cells from scratch: parameters, layers, time. Each cell adds the equations of one step."""

import math
from collections.abc import Callable, Iterator
from typing import ClassVar

import torch
from torch import Tensor, nn

from longlag.models.initialisation import GATES, initialise
from longlag.models.kernels.bptt import over_time, rewritten
from longlag.models.kernels.fused_cell import Fused
from longlag.models.kernels.native import kernels
from longlag.models.kernels.native.cells import has_kernel, is_readable, runner
from longlag.models.recurrent import State, check_dropout, full_precision

Step = tuple[tuple[Tensor, ...], tuple[Tensor, ...]]  # result of a step: the parts of the state, the gates
IMPLEMENTATIONS = ("auto", "native", "fused", "reference")
MEMORIES = ("normal", "low")


class Scratch(nn.Module):
    """A recurrent core with our own equations. The parameters have torch's names and gate order.

    Args:
        input_size: width of the input.
        hidden_size: units per layer.
        num_layers: number of layers; each takes the outputs of the one below.
        dropout: probability of dropping an output between layers; needs at least two layers.
        init: scheme of `models/initialisation.py`.
        t_max: longest time scale of chrono initialisation, in steps.
        impl: `reference` runs the equations under autograd. `fused` computes the same function faster
            (`kernels/bptt.py`), to within a few times the rounding error of the reference, and is differentiable once.
            `native` does so faster still, in C (`kernels/native`), for float32 on the CPU where there is a C compiler;
            elsewhere it is `fused`. `auto` is the fastest one there is: `native` where that can run, otherwise `fused`.
            Under `torch.func`, `torch.compile`, `torch.export` and tracing the equations run in any case.
        memory: `low` computes the gates again in the backward pass instead of storing them, which only `fused` can.

    Raises:
        ValueError: if the scheme does not fit the architecture, dropout is set with a single layer, a name is unknown,
            or a size is not positive.
    """

    architecture: ClassVar[str]  # a key of `GATES` in `models/initialisation.py`
    extra: ClassVar[dict[str, int]] = {}  # parameters that torch does not have, by name: length / hidden_size
    parts: ClassVar[int] = 1  # number of parts of the state: 1 (h) or 2 (h and C)
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
        impl: str = "auto",
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
        """(batch, time, input_size) -> (batch, time, hidden_size): h_t of the top layer at every step."""
        return self.unroll(x)[0]

    def unroll(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Return the outputs and the final state, h or (h, C), starting from a given state (zero by default).

        Each part of the state is (layers, batch, hidden_size). The computation is never in half precision, where a
        forget gate of .999 could round to 1.

        Raises:
            ValueError: if x does not have three dimensions.
            RuntimeError: if a size, or the type of the state, is not as expected, or x has no time steps.
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
        """W, U, b_ih, b_hh of a layer, followed by the cell's extra parameters."""
        names = "weight_ih", "weight_hh", "bias_ih", "bias_hh", *self.extra
        return [getattr(self, f"{name}_l{layer}") for name in names]

    def _begin(self, x: Tensor, state: State | None) -> tuple[Tensor, ...]:
        """The parts of the initial state, checked against the sizes, dtype and device of x."""
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
        """Run one layer over x (batch, time, width) -> outputs and the final parts, from parts (batch, hidden_size)."""
        weights = self.weights(layer)
        ran = self.runs(x, *state, *weights)
        if ran == "reference":
            return loop(type(self).step, x, state, weights)
        run = runner(kernels()) if ran == "native" else None
        return over_time(self.fused, self.memory == "low", x, state, weights, run)

    @property
    def ran(self) -> str:
        """The implementation that runs for inputs of the parameters' type and device: native, fused or reference."""
        return self.runs(*self.weights(0))

    def runs(self, *tensors: Tensor) -> str:
        """The implementation that runs for these inputs, states and weights: native, fused or reference."""
        if self.impl == "reference" or rewritten():
            return "reference"
        can = self.impl != "fused" and self.memory == "normal" and has_kernel(self.fused)
        return "native" if can and all(map(is_readable, tensors)) and kernels() is not None else "fused"


def loop(step: Callable[..., Step], x: Tensor, state: tuple[Tensor, ...], weights: list[Tensor]) -> tuple[Tensor, ...]:
    """Run the equations step by step under autograd; arguments and result are as in `over_time`."""
    steps = list(unrolled(step, x, state, weights))
    return torch.stack([h for (h, *_), _ in steps], dim=1), *steps[-1][0]


def unrolled(step: Callable[..., Step], x: Tensor, state: tuple[Tensor, ...], weights: list[Tensor]) -> Iterator[Step]:
    """Yield each step's state and gates, (batch, hidden_size) each, for x (batch, time, width)."""
    W, U, b_ih, b_hh, *extra = weights
    for Wx_t in (x @ W.T + b_ih).unbind(1):  # (batch, gates hidden_size); unbind once: indexing would be O(time^2)
        state, gates = step(Wx_t, *state, U, b_hh, *extra)
        yield state, gates


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
