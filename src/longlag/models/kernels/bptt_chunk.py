"""A few steps of a recurrent layer, there and back: the loops inside `bptt.py`, where the time goes.

Views of each step are made once for an array: to make one takes as long as to compute with it.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from longlag.models.kernels.fused_cell import Fused, Steps, Views


class Chunk:
    """The arrays of some steps: gates (time, batch, blocks, hidden), and C (time + 1, batch, hidden) or None.

    Args:
        cell: what is computed.
        like: (batch, hidden) on the right device.
        time: steps.
    """

    def __init__(self, cell: Fused, like: Tensor, time: int):
        self.cell, self.like, self.time = cell, like, time
        self.gates = like.new_empty(time, len(like), cell.blocks, like.shape[1])
        self.C = like.new_empty(time + 1, *like.shape) if cell.has_memory else None
        self._sums = takes_h(cell, self.gates).unbind(0)
        self._views = by_step(cell.views(self.gates, None if self.C is None else self.C[1:]))

    def run(
        self,
        h_before: Sequence[Tensor],
        h_after: Sequence[Tensor],
        C: Tensor | None,
        U: Tensor | None,
        p: Tensor | None,
    ) -> Tensor | None:
        """Turn W x_t + b, with U h_{t-1} still to be added unless U is None, into gates.

        Args:
            h_before: h_{t-1} of each step, (batch, hidden) each.
            h_after: where to write h_t.
            C: (batch, hidden) before the chunk.
            U: (blocks that take h, hidden), transposed.
            p: peephole weights.

        Returns:
            C after the chunk.
        """
        C_before, C_after = h_before, h_after
        if self.C is not None and C is not None:
            self.C[0] = C
            Cs = self.C.unbind(0)
            C_before, C_after = Cs[:-1], Cs[1:]
        for t in range(self.time):
            if U is not None:
                self._sums[t].addmm_(h_before[t], U)
            self.cell.step(self._views[t], h_before[t], C_before[t], h_after[t], C_after[t], p)
        return None if self.C is None else self.C[-1].clone()

    def again(self, inputs: Tensor, h_before: Tensor, C: Tensor | None, packed: Tensor, p: Tensor | None) -> None:
        """Compute gates and C from what was kept: [x_t, 1, h_{t-1}] (time batch, …) and C before the chunk."""
        torch.mm(inputs, packed.t(), out=flat(self.gates))
        self.run(h_before.unbind(0), [torch.empty_like(self.like)] * self.time, C, None, p)


class ChunkBack:
    """The gradients of some steps.

    Args:
        cell: what was computed.
        like: (batch, hidden) on the right device.
        time: steps.
    """

    def __init__(self, cell: Fused, like: Tensor, time: int):
        self.cell, self.like, self.time = cell, like, time
        self.dz = like.new_empty(time, len(like), cell.blocks, like.shape[1])
        self._dh = like.new_empty(time + 1, *like.shape)
        self._dhs = self._dh.unbind(0)
        self._to_h = takes_h(cell, self.dz).unbind(0)
        self._parts = by_step(cell.parts(self.dz))

    def run(self, d_outputs: Tensor, others: Steps, dh: Tensor, dC: Tensor | None, U: Tensor) -> Tensor:
        """Make the slopes that `dz` holds dL/dz, and `dC`, in place, what reaches the step before the chunk.

        Args:
            d_outputs: (batch, time, hidden) dL/dh_t by way of the outputs.
            others: what the cell's `slopes` returned.
            dh, dC: (batch, hidden) of the last step, by way of the later ones.
            U: (blocks that take h, hidden).

        Returns:
            dL/dh before the chunk.
        """
        self._dh[0] = 0
        self._dh[1:] = d_outputs.transpose(0, 1)
        self._dh[-1] += dh
        rest = by_step(others) or [()] * self.time
        for t in reversed(range(self.time)):
            before = self._dhs[t]
            self.cell.step_back(self._parts[t], rest[t], self._dhs[t + 1], before if dC is None else dC, before)
            before.addmm_(self._to_h[t], U)
        return self._dh[0].clone()


Kind = TypeVar("Kind", Chunk, ChunkBack)


def of_time(chunk: Kind | None, kind: type[Kind], cell: Fused, like: Tensor, time: int) -> Kind:
    """The chunk, to be filled anew, or another of its kind where there is none with as many steps."""
    return chunk if chunk is not None and chunk.time == time else kind(cell, like, time)


def flat(blocks: Tensor) -> Tensor:
    """(time, batch, blocks, hidden) -> (time batch, blocks hidden)."""
    return blocks.view(blocks.shape[0] * blocks.shape[1], blocks.shape[2] * blocks.shape[3])


def takes_h(cell: Fused, blocks: Tensor) -> Tensor:
    """Those of the blocks that U h_{t-1} is added to, (time, batch, blocks hidden)."""
    return blocks[:, :, cell.from_h :].flatten(2)


def by_step(arrays: Views) -> list[tuple[Any, ...]]:
    """What belongs to each step, of arrays and lists with time first."""
    return list(zip(*(array.unbind(0) if isinstance(array, Tensor) else array for array in arrays), strict=True))
