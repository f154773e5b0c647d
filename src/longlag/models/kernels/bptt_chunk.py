"""The loops over the steps of one chunk, forward and backward. `bptt.py` spends most of its time here.

The views of the single steps are created once per array, since creating a view takes as long as computing with it.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from longlag.models.kernels.fused_cell import Fused, Steps, Views


class Chunk:
    """The arrays of a chunk of steps: gates (time, batch, blocks, hidden), and C (time + 1, batch, hidden) or None.

    Args:
        cell: the cell's forward and backward equations.
        like: (batch, hidden) a tensor with the right shape, dtype and device.
        time: number of steps.
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
        """Turn W x_t + b into gates, step by step. U h_{t-1} is added first, unless U is None (already included).

        Args:
            h_before: h_{t-1} of each step, (batch, hidden) each.
            h_after: the tensors that receive h_t.
            C: (batch, hidden) before the chunk.
            U: (hidden, blocks that take h), the recurrent weights transposed.
            p: peephole weights.

        Returns:
            C after the chunk, or None if the cell has no C.
        """
        C_before, C_after = h_before, h_after  # a cell without C ignores these arguments
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
        """Compute gates and C again from [x_t, 1, h_{t-1}] (time batch, …) and C before the chunk."""
        torch.mm(inputs, packed.t(), out=flat(self.gates))
        self.run(h_before.unbind(0), [torch.empty_like(self.like)] * self.time, C, None, p)


class ChunkBack:
    """The gradients of a chunk of steps.

    Args:
        cell: the cell's forward and backward equations.
        like: (batch, hidden) a tensor with the right shape, dtype and device.
        time: number of steps.
    """

    def __init__(self, cell: Fused, like: Tensor, time: int):
        self.cell, self.like, self.time = cell, like, time
        self.dz = like.new_empty(time, len(like), cell.blocks, like.shape[1])
        self._dh = like.new_empty(time + 1, *like.shape)
        self._dhs = self._dh.unbind(0)
        self._to_h = takes_h(cell, self.dz).unbind(0)
        self._parts = by_step(cell.parts(self.dz))

    def run(self, d_outputs: Tensor, others: Steps, dh: Tensor, dC: Tensor | None, U: Tensor) -> Tensor:
        """Turn the slopes in `dz` into dL/dz, and `dC`, in place, into the gradient before the chunk.

        Args:
            d_outputs: (batch, time, hidden) dL/dh_t through the outputs.
            others: the factors that the cell's `slopes` returned.
            dh, dC: (batch, hidden) gradients of the last state of the chunk, through the later steps.
            U: (blocks that take h, hidden), the recurrent weights.

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
    """Return the given chunk for reuse if it has `time` steps, otherwise a new one."""
    return chunk if chunk is not None and chunk.time == time else kind(cell, like, time)


def flat(blocks: Tensor) -> Tensor:
    """(time, batch, blocks, hidden) -> (time batch, blocks hidden)."""
    return blocks.view(blocks.shape[0] * blocks.shape[1], blocks.shape[2] * blocks.shape[3])


def takes_h(cell: Fused, blocks: Tensor) -> Tensor:
    """The blocks that U h_{t-1} is added to, (time, batch, blocks hidden)."""
    return blocks[:, :, cell.from_h :].flatten(2)


def by_step(arrays: Views) -> list[tuple[Any, ...]]:
    """Split arrays and lists with time first into one tuple per step."""
    return list(zip(*(array.unbind(0) if isinstance(array, Tensor) else array for array in arrays), strict=True))
