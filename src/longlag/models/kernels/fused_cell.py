"""What a cell must know to be computed fast, forward and backward, by the loop in `bptt.py`."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

Steps = tuple[Tensor, ...]  # arrays with time first; the loop hands on one step of each


class Fused(ABC):
    """A cell with its derivatives. All is done in place or into arrays that are given: memory is what costs time.

    On the CPU a tanh costs several sigmoids, so cells write tanh(z) = 1 - 2σ(-2z), the inner -2 folded into `pack`.

    Attributes:
        blocks: of hidden_size that the gates of a step take.
        from_h: the first of the blocks that U h_{t-1} is added to.
        has_memory: whether there is a C beside h; without it, h stands in its place below.
        needs_gates: whether the way back needs them.
    """

    blocks: ClassVar[int]
    from_h: ClassVar[int] = 0
    has_memory: ClassVar[bool] = False
    needs_gates: ClassVar[bool] = True

    @abstractmethod
    def pack(self, W: Tensor, U: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
        """One matrix (blocks hidden, input + 1 + hidden) that multiplies [x_t, 1, h_{t-1}], out of torch's parameters.

        Autograd differentiates this by itself and so takes the gradient back to the parameters.
        """

    def views(self, gates: Tensor) -> Steps:
        """Gates (time, batch, blocks, hidden) -> what `step` works on."""
        return gates.flatten(2), *gates.unbind(2)

    @abstractmethod
    def step(self, views: Sequence[Tensor], h: Tensor, C: Tensor, h_t: Tensor, C_t: Tensor, p: Tensor | None) -> None:
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
