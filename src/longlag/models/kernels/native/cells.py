"""One recurrent layer over a whole sequence by the kernels in C, as `bptt.OverTime` does it in torch.

A kernel runs a chunk of steps at once. The gradients of the weights and of x stay torch's matrix products, one per
chunk. The arrays of the kernels have the hidden size rounded up to whole vectors.
"""

import ctypes
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from longlag.models.kernels.bptt import OverTime
from longlag.models.kernels.fused_cell import Fused
from longlag.models.kernels.native.bind import padded

ROWS = 1536  # steps times batch size of a chunk, so that its dz is in the cache when the weights' gradient needs it
DTYPE = torch.float32  # what the kernels of `native.kernels` are compiled for


class Kernel(NamedTuple):
    """A fused cell and the library that has its kernel."""

    cell: Fused
    library: ctypes.CDLL

    def call(self, part: str, *arguments: int | Tensor | None) -> None:
        """Call the C function `NAME_part`; a tensor stands for the address of its first element, None for NULL."""
        function = getattr(self.library, f"{self.cell.kernel}_{part}")
        function(*(a.data_ptr() if isinstance(a, Tensor) else a for a in arguments))

    def packed(self, packed: Tensor, width: int, back: bool) -> Tensor:
        """The packed weights (blocks hidden, width + 1 + hidden) in the order of the forward or backward kernel."""
        hidden = packed.shape[1] - width - 1
        takers = self.cell.blocks - self.cell.from_h  # as many blocks take x as take h
        rows = takers * hidden if back else self.cell.blocks + takers * (width + hidden)
        weights = packed.new_empty(rows, padded(self.library, hidden))
        self.call("pack", width, hidden, packed.contiguous(), *((None, weights) if back else (weights, None)))
        return weights


class NativeOverTime(OverTime):
    """The loop over the chunks of a sequence, forward and backward; it refuses what `OverTime` refuses."""

    @staticmethod
    def forward(  # type: ignore[override]  # nobody calls it as an OverTime
        ctx: Any,
        kernel: Kernel,
        keep: bool,
        x: Tensor,
        h_0: Tensor,
        C_0: Tensor | None,
        packed: Tensor,
        p: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Arguments and results are as in `OverTime.forward`, with a kernel in place of its cell."""
        time, batch, hidden = x.shape[1], *h_0.shape
        keep = keep and any(ctx.needs_input_grad)
        steps = max(1, ROWS // max(1, batch))
        steps_at_once = steps if keep else time
        weights = kernel.packed(packed, x.shape[2], back=False)
        wide, wide_p = padded(kernel.library, hidden), None if p is None else widened(p, kernel)
        hs = h_0.new_empty(time + 1, batch, wide)  # h_0, …, h_T
        hs[0] = widened(h_0, kernel)
        C = None if C_0 is None else widened(C_0, kernel)
        kept: list[Tensor | None] = []
        for first in range(0, time, steps_at_once):
            last = min(first + steps_at_once, time)
            slots = last - first if keep else 0  # 0: all steps share one array
            gates = h_0.new_empty(max(1, slots), batch, kernel.cell.blocks, wide)
            Cs = None if C is None else h_0.new_empty(slots + 1, batch, wide)
            if C is not None and Cs is not None:
                Cs[0] = C
            kernel.call(
                "forward", last - first, batch, x.shape[2], hidden, x[:, first:last], x.stride(1), x.stride(0),
                x.stride(2), weights, wide_p, hs[first], Cs, batch * wide * bool(slots),
                gates, gates[0].numel() * bool(slots),
            )  # fmt: skip
            C = None if Cs is None else Cs[-1]
            kept += [gates, Cs] if keep else []
        ctx.kernel, ctx.keep, ctx.steps, ctx.gradients = kernel, keep, steps, _gradients
        ctx.save_for_backward(x, h_0, C_0, packed, p, hs, *kept)
        end = None if C is None else C[:, :hidden].clone()
        return hs[1:, :, :hidden].transpose(0, 1), hs[-1, :, :hidden].clone(), end


def runner(library: ctypes.CDLL | None) -> Callable[..., tuple[Tensor, Tensor, Tensor | None]]:
    """What `bptt.over_time` calls in place of `OverTime.apply`, with the same arguments."""
    assert library is not None

    def run(cell: Fused, keep: bool, *tensors: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        # The kernels read the memory as it is: a tensor that only stands for the negative of it becomes a copy.
        return NativeOverTime.apply(
            Kernel(cell, library), keep, *(t if t is None else t.resolve_neg() for t in tensors)
        )

    return run


def has_kernel(cell: Fused) -> bool:
    """Whether the cell's class itself names a kernel; one that it inherits computes other equations."""
    return vars(type(cell)).get("kernel") is not None


def is_readable(tensor: Tensor, or_complex: bool = False) -> bool:
    """Whether a kernel can read the tensor's memory, and no mode of torch must see what is computed."""
    plain = type(tensor) in (Tensor, nn.Parameter) and not torch._C._len_torch_dispatch_stack()
    dtypes = (DTYPE, DTYPE.to_complex()) if or_complex else (DTYPE,)
    return plain and tensor.is_cpu and tensor.dtype in dtypes and tensor.layout == torch.strided


def widened(tensor: Tensor, kernel: Kernel) -> Tensor:
    """The tensor (…, hidden) in an array of its own, (…, padded hidden), with zeros behind."""
    hidden = tensor.shape[-1]
    wide = tensor.new_empty(*tensor.shape[:-1], padded(kernel.library, hidden))
    wide[..., hidden:] = 0
    wide[..., :hidden] = tensor
    return wide


def _gradients(
    ctx: Any, saved: Sequence[Tensor], d_outputs: Tensor, dh: Tensor, dC: Tensor | None
) -> tuple[Tensor | None, ...]:
    """Backpropagation through time, chunk by chunk, from the last chunk to the first."""
    x, _, _, packed, p, hs, *kept = saved
    kernel, steps, width, (batch, time, hidden) = ctx.kernel, ctx.steps, x.shape[2], d_outputs.shape
    _, _, of_x, _, _, of_packed, of_p = ctx.needs_input_grad
    U = kernel.packed(packed, width, back=True)
    sums = Sums(kernel, packed, width) if of_packed else None
    dx = torch.empty_like(x) if of_x else None
    dp = torch.zeros_like(p) if p is not None and of_p else None
    dh, dC, wide_p = widened(dh, kernel), *(None if t is None else widened(t, kernel) for t in (dC, p))
    chunk = hs.new_empty(min(steps, time), batch, kernel.cell.blocks, hs.shape[2])  # dL/dz, used again for each chunk
    for first in reversed(range(0, time, steps)):
        now = slice(first, min(first + steps, time))
        dz, number = chunk[: now.stop - first], 2 * (first // steps)
        gates, C = kept[number : number + 2] if ctx.keep else (None, None)
        d_out = _readable(d_outputs[:, now], kernel)
        kernel.call(
            "backward", len(dz), batch, hidden, d_out, d_out.stride(1), d_out.stride(0), hs[first], C, gates, wide_p,
            U, dz, dh, dC,
        )  # fmt: skip
        if sums is not None:
            sums.add(dz, x[:, now], hs[now])
        dz = dz[..., :hidden]
        if dx is not None:
            dx[:, now] = (dz.flatten(2) @ packed[:, :width]).transpose(0, 1)
        if dp is not None:
            dp += kernel.cell.peephole_gradient(dz, kept[number + 1][..., :hidden])
    return dx, dh[:, :hidden], None if dC is None else dC[:, :hidden], None if sums is None else sums.gradient(), dp


class Sums:
    """The gradient of the packed weights, sum_t dz_t [x_t, 1, h_{t-1}]^T, chunk by chunk."""

    def __init__(self, kernel: Kernel, packed: Tensor, width: int):
        self.kernel, self.width, self.hidden = kernel, width, packed.shape[1] - width - 1
        blocks, wide = kernel.cell.blocks, padded(kernel.library, self.hidden)
        self.total = packed.new_zeros(packed.shape[1], blocks, wide)  # transposed, in whole vectors

    def add(self, dz: Tensor, x: Tensor, h_before: Tensor) -> None:
        """Add a chunk: dz (time, batch, blocks, padded hidden), x (batch, time, width), h (time, batch, padded …)."""
        one = x.new_ones(1).expand(*dz.shape[:2], 1)
        self._add(torch.cat([x.transpose(0, 1), one], dim=2), self.width + 1, dz, self.total)
        first = self.kernel.cell.from_h  # the blocks before do not take h
        self._add(h_before, self.hidden, dz[:, :, first:], self.total[self.width + 1 :, first:])

    def _add(self, inputs: Tensor, width: int, dz: Tensor, total: Tensor) -> None:
        rows, columns = dz.shape[0] * dz.shape[1], dz.shape[2] * dz.shape[3]
        self.kernel.library.add_products(
            rows, width, columns, inputs.data_ptr(), inputs.stride(1), dz.data_ptr(), dz.stride(1), total.data_ptr(),
            total.stride(0),
        )  # fmt: skip

    def gradient(self) -> Tensor:
        """(blocks hidden, width + 1 + hidden)."""
        return self.total[..., : self.hidden].flatten(1).t()


def _readable(d_outputs: Tensor, kernel: Kernel) -> Tensor:
    """The tensor (batch, time, hidden) if the kernel can read it as it is, otherwise a copy in whole vectors."""
    as_it_is = d_outputs.stride(2) == 1 and d_outputs.shape[2] == padded(kernel.library, d_outputs.shape[2])
    return d_outputs.resolve_neg() if as_it_is else widened(d_outputs, kernel)
