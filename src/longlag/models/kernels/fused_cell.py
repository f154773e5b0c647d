"""The interface between a cell and the fast loop in `bptt.py`: its forward step and its derivatives."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

Steps = tuple[Tensor, ...]  # arrays with time first; the loop passes one step of each to the cell
Views = tuple[Any, ...]  # tensors or NumPy arrays with time first, or lists with an entry for each step


class Fused(ABC):
    """A cell and its derivatives. Everything is computed in place or into given arrays: allocating memory is slow.

    Values near 0 keep full relative precision. tanh is never written as 1 - 2σ(-2z), whose error of 1e-7 is large
    relative to a small z, and a slope is the product of y and 1 - y, as in autograd, never a difference.

    Attributes:
        blocks: number of blocks of width hidden_size that the gates of a step take.
        from_h: index of the first block that U h_{t-1} is added to.
        has_memory: whether the cell has a state C beside h. If not, ignore the arguments C, C_t and dC below.
        needs_gates: whether the backward pass needs the gates.
        unit: the loop holds C / unit.
        kernel: the name of the cell's kernel in `native`, None if it has none. It is not inherited: a class with other
            equations has none until it names its own.
    """

    blocks: ClassVar[int]
    from_h: ClassVar[int] = 0
    has_memory: ClassVar[bool] = False
    needs_gates: ClassVar[bool] = True
    unit: ClassVar[float] = 1.0
    kernel: ClassVar[str | None] = None

    @abstractmethod
    def pack(self, W: Tensor, U: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
        """Pack torch's parameters into a matrix (blocks hidden, input + 1 + hidden) that multiplies [x_t, 1, h_{t-1}].

        Autograd differentiates this function and so carries the gradient back to the parameters.
        """

    @abstractmethod
    def views(self, gates: Tensor, C: Tensor | None) -> Views:
        """The arrays for `step`, time first, from gates (time, batch, blocks, hidden) and C (time, batch, hidden)."""

    @abstractmethod
    def step(self, views: Sequence[Any], h: Tensor, C: Tensor, h_t: Tensor, C_t: Tensor, p: Tensor | None) -> None:
        """Turn W x_t + U h_{t-1} + b into gates, and fill h_t and C_t from h_{t-1} and C_{t-1}, (batch, hidden) each.

        p: (blocks, hidden) the peephole weights, or None if the cell has none.
        """

    @abstractmethod
    def slopes(self, dz: Tensor, gates: Tensor, h: Tensor, C: Tensor, p: Tensor | None) -> Steps:
        """Compute the factors that multiply the incoming dL/dh_t and dL/dC_t, for all steps of a chunk at once.

        Args:
            dz: (time, batch, blocks, hidden) to be filled; multiplied by the incoming gradient it is dL/dz.
            gates: (time, batch, blocks, hidden) as left by `step`.
            h, C: (time + 1, batch, hidden) starting with the state before the chunk.
            p: as in `step`.

        Returns:
            The other factors that `step_back` needs.
        """

    def parts(self, dz: Tensor) -> Steps:
        """Split the slopes (time, batch, blocks, hidden) into the arrays that `step_back` works on."""
        return (dz,)

    @abstractmethod
    def step_back(
        self, parts: Sequence[Tensor], others: Sequence[Tensor], dh: Tensor, dC: Tensor, dh_before: Tensor
    ) -> None:
        """Turn the slopes of step t into dL/dz_t, and dC from dL/dC_t through the later steps into dL/dC_{t-1}.

        The part of dh = dL/dh_t that reaches h_{t-1} directly is added to `dh_before`; the loop adds U^T dz_t.
        """

    def peephole_gradient(self, dz: Tensor, C: Tensor) -> Tensor | None:
        """The gradient of the peephole weights, (blocks, hidden), summed over a chunk; None if the cell has none."""
        return None


def array(tensor: Tensor) -> Any:
    """The tensor as an argument for `tanh`: on the CPU a NumPy array, as NumPy's tanh takes 1/8 to 1/3 of torch's time.

    In float32 NumPy's relative error is at most 1.1e-7, torch's .6e-7. The tensor stays a tensor where torch must see
    what is written: for a subclass of Tensor, or while a dispatch mode records torch's calls.
    """
    plain = tensor.is_cpu and type(tensor) is Tensor and not torch._C._len_torch_dispatch_stack()
    return tensor.numpy() if plain and tensor.dtype in (torch.float32, torch.float64) else tensor


def tanh(z: Any, out: Any) -> None:
    """Write tanh(z) into `out`, which may be z; both are as returned by `array`."""
    (np if isinstance(z, np.ndarray) else torch).tanh(z, out=out)


def through_sigmoid(gradient: Tensor, y: Tensor, out: Tensor) -> None:
    """Write gradient σ'(z) into `out`, where y = σ(z)."""
    torch.ops.aten.sigmoid_backward.grad_input(gradient, y, grad_input=out)


def through_tanh(gradient: Tensor, y: Tensor, out: Tensor) -> None:
    """Write gradient tanh'(z) into `out`, where y = tanh(z)."""
    torch.ops.aten.tanh_backward.grad_input(gradient, y, grad_input=out)
