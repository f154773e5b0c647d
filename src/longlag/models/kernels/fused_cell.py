"""What a cell must know to be computed fast, forward and backward, by the loop in `bptt.py`."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

Steps = tuple[Tensor, ...]  # arrays with time first; the loop hands on one step of each
Views = tuple[Any, ...]  # tensors or NumPy arrays with time first, or lists with an entry for each step


class Fused(ABC):
    """A cell with its derivatives. All is done in place or into arrays that are given: memory is what costs time.

    Values near 0 keep all their digits: tanh is never written as 1 - 2σ(-2z), which is off by 1e-7 wherever z is small,
    and slopes are multiplied out of y and 1 - y, as autograd does, and never subtracted.

    Attributes:
        blocks: of hidden_size that the gates of a step take.
        from_h: the first of the blocks that U h_{t-1} is added to.
        has_memory: whether there is a C beside h; without it, h stands in its place below.
        needs_gates: whether the way back needs them.
        unit: the loop holds C in multiples of it.
    """

    blocks: ClassVar[int]
    from_h: ClassVar[int] = 0
    has_memory: ClassVar[bool] = False
    needs_gates: ClassVar[bool] = True
    unit: ClassVar[float] = 1.0

    @abstractmethod
    def pack(self, W: Tensor, U: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
        """One matrix (blocks hidden, input + 1 + hidden) that multiplies [x_t, 1, h_{t-1}], out of torch's parameters.

        Autograd differentiates this by itself and so takes the gradient back to the parameters.
        """

    @abstractmethod
    def views(self, gates: Tensor, C: Tensor | None) -> Views:
        """What `step` works on, with time first, of gates (time, batch, blocks, hidden) and C (time, batch, hidden)."""

    @abstractmethod
    def step(self, views: Sequence[Any], h: Tensor, C: Tensor, h_t: Tensor, C_t: Tensor, p: Tensor | None) -> None:
        """Turn W x_t + U h_{t-1} + b into gates, and fill h_t and C_t from h_{t-1} and C_{t-1}, (batch, hidden) each.

        p: (blocks, hidden) the peephole weights of a cell that has some.
        """

    @abstractmethod
    def slopes(self, dz: Tensor, gates: Tensor, h: Tensor, C: Tensor, p: Tensor | None) -> Steps:
        """What the gradients are apart from the incoming dL/dh_t and dL/dC_t, for all steps of a chunk at once.

        Args:
            dz: (time, batch, blocks, hidden) to be filled; times the incoming gradient it is dL/dz.
            gates: (time, batch, blocks, hidden) as `step` left them.
            h, C: (time + 1, batch, hidden) from the state before the chunk on.
            p: as in `step`.

        Returns:
            What else `step_back` needs.
        """

    def parts(self, dz: Tensor) -> Steps:
        """Slopes (time, batch, blocks, hidden) -> what `step_back` works on."""
        return (dz,)

    @abstractmethod
    def step_back(
        self, parts: Sequence[Tensor], others: Sequence[Tensor], dh: Tensor, dC: Tensor, dh_before: Tensor
    ) -> None:
        """Turn the slopes of step t into dL/dz_t, and dC from dL/dC_t by way of the later steps into dL/dC_{t-1}.

        What of dh = dL/dh_t reaches h_{t-1} past the gates is added to `dh_before`; U^T dz_t is added by the loop.
        """

    def peephole_gradient(self, dz: Tensor, C: Tensor) -> Tensor | None:
        """(blocks, hidden), over a chunk."""
        return None


def array(tensor: Tensor) -> Any:
    """The tensor for `tanh`: on the CPU as a NumPy array, whose tanh takes an eighth to a third of the time of torch's.

    In float32 it is within 1.1e-7 of the true value, relative to it; torch's is within .6e-7. The tensor stays a tensor
    where torch must see what is written: in a subclass of a tensor, or while torch's calls are recorded.
    """
    plain = tensor.is_cpu and type(tensor) is Tensor and not torch._C._len_torch_dispatch_stack()
    return tensor.numpy() if plain and tensor.dtype in (torch.float32, torch.float64) else tensor


def tanh(z: Any, out: Any) -> None:
    """Fill `out`, which may be z, with tanh(z), both as `array` returned them."""
    (np if isinstance(z, np.ndarray) else torch).tanh(z, out=out)


def through_sigmoid(gradient: Tensor, y: Tensor, out: Tensor) -> None:
    """Fill `out` with gradient σ'(z), where y = σ(z)."""
    torch.ops.aten.sigmoid_backward.grad_input(gradient, y, grad_input=out)


def through_tanh(gradient: Tensor, y: Tensor, out: Tensor) -> None:
    """Fill `out` with gradient tanh'(z), where y = tanh(z)."""
    torch.ops.aten.tanh_backward.grad_input(gradient, y, grad_input=out)
