"""One recurrent layer over a whole sequence as one autograd.Function with hand-written forward and backward passes.

Autograd's own graph has about a dozen nodes per step. Here a step computes only what depends on its neighbour. The rest
is computed for a chunk of steps at once, while the chunk is in the cache:

- forward: W x_t + b is one matrix product per chunk; each step adds U h_{t-1} and applies the cell;
- backward: the factors that depend on the gates alone are computed in advance for the chunk, so that a step multiplies
  them by the incoming gradient and passes U^T dz_t back to h_{t-1};
- the gradients of the weights, sum_t dz_t [x_t, 1, h_{t-1}]^T, and of x are one matrix product each per chunk.

With memory=low only the outputs, which exist anyway, and C at the start of each chunk are stored. The backward pass
computes the gates of a chunk again: since its h_{t-1} are known, that is one matrix product too. The chunk length grows
as sqrt(time), and so does the memory used beyond inputs, outputs and their gradients.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from longlag.models.kernels.bptt_chunk import Chunk, ChunkBack, flat, of_time
from longlag.models.kernels.fused_cell import Fused

ROWS = 1536  # steps times batch size of a chunk: large enough for matrix products, small enough for the cache
# Memory of one step of a chunk in the backward pass, as a multiple of one C, roughly. A chunk of n steps needs 12 n and
# the stored C need time / n (in units of one C); the sum is smallest at n = sqrt(time / 12).
STEP_OVER_C = 12
INSTEAD = (
    "make the core with impl=reference (model.impl=reference on the command line), which runs under autograd"
    " (a core that has `kernels`: set them to library)"
)


def over_time(
    cell: Fused,
    low: bool,
    x: Tensor,
    state: tuple[Tensor, ...],
    weights: Sequence[Tensor],
    run: Callable[..., tuple[Tensor, Tensor, Tensor | None]] | None = None,
) -> tuple[Tensor, ...]:
    """Run one layer over a sequence.

    Args:
        cell: the cell's forward and backward equations.
        low: whether the backward pass computes the gates again instead of storing them.
        x: (batch, time, width).
        state: h_0, or h_0 and C_0, (batch, hidden) each.
        weights: W, U, b_ih, b_hh in torch's layout, then the peephole weights if the cell has them.
        run: another implementation of `OverTime.apply`; see `native/cells.py`.

    Returns:
        Outputs (batch, time, hidden) and the final state, h_T or h_T and C_T.

    Raises:
        RuntimeError: for second derivatives, forward-mode differentiation or several gradients at once.
    """
    W, U, b_ih, b_hh, *p = weights
    keep = cell.needs_gates and not low and torch.is_grad_enabled()
    packed = cell.pack(W, U, b_ih, b_hh)
    peepholes = p[0].view(-1, U.shape[1]) if p else None
    h_0, C_0 = state if cell.has_memory else (*state, None)
    C_0 = None if C_0 is None else C_0 / cell.unit  # the loop holds C in multiples of `unit`
    outputs, h, C = (run or OverTime.apply)(cell, keep, x, h_0, C_0, packed, peepholes)
    return (outputs, h) if C is None else (outputs, h, C * cell.unit)


class OverTime(torch.autograd.Function):
    """The loop over the chunks of a sequence, forward and backward. A subclass names its own `ctx.gradients`."""

    @staticmethod
    def forward(
        ctx: Any, cell: Fused, keep: bool, x: Tensor, h_0: Tensor, C_0: Tensor | None, packed: Tensor, p: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Run the chunks in order; arguments as in `over_time`, with packed weights. Returns outputs, h_T and C_T."""
        time, batch, hidden = x.shape[1], *h_0.shape
        W, b, U = packed.t().contiguous().split([x.shape[2], 1, hidden])
        hs = h_0.new_empty(time + 1, batch, hidden)  # h_0, …, h_T
        hs[0] = h_0
        C, chunk, kept = C_0, None, []
        steps = max(1, ROWS // max(1, batch), 0 if keep else math.isqrt(time // STEP_OVER_C))
        ctx.cell, ctx.keep, ctx.gradients = cell, keep, _gradients
        ctx.spans = [(t, min(t + steps, time)) for t in range(0, time, steps)]
        for first, last in ctx.spans:
            chunk = of_time(None if keep else chunk, Chunk, cell, h_0, last - first)
            x_now = x[:, first:last].transpose(0, 1).flatten(0, 1)  # (steps batch, width)
            torch.addmm(b, x_now, W, out=flat(chunk.gates))
            now = hs[first : last + 1].unbind(0)
            kept += [chunk.gates, chunk.C] if keep else [C]
            C = chunk.run(now[:-1], now[1:], C, U[:, cell.from_h * hidden :], p)
        ctx.save_for_backward(x, h_0, C_0, packed, p, hs, *kept)
        return hs[1:].transpose(0, 1), hs[-1].clone(), C

    @staticmethod
    def backward(ctx: Any, *incoming: Any) -> tuple[Tensor | None, ...]:
        """Return the gradients with respect to x, h_0, C_0, the packed weights and p."""
        if torch._C._are_functorch_transforms_active() or any(map(is_batched, incoming)):
            raise RuntimeError(f"a fused loop cannot take several gradients at once: {INSTEAD}")
        saved = ctx.saved_tensors
        # `cell` and `keep` have no gradient. The first five saved tensors are the inputs that have one.
        return None, None, *Once.apply(partial(ctx.gradients, ctx, saved, *incoming), *incoming, *saved[:5])

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        """Refuse forward-mode differentiation."""
        raise RuntimeError(f"a fused loop cannot be differentiated forward: {INSTEAD}")


class Once(torch.autograd.Function):
    """The gradients as a function of their sources that raises an error when it is differentiated again.

    Torch's `once_differentiable` leaves the sources out of the graph. A gradient penalty then loses its second
    derivatives silently where the incoming gradient is a constant, or where only some inputs are requested.
    """

    @staticmethod
    def forward(ctx: Any, compute: Callable[[], tuple[Tensor | None, ...]], *sources: Tensor | None) -> Any:
        """Return what `compute` returns; it is a function of the sources."""
        return compute()

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        """Refuse second derivatives."""
        raise RuntimeError(f"a fused loop cannot be differentiated twice: {INSTEAD}")


def _gradients(
    ctx: Any, saved: Sequence[Tensor], d_outputs: Tensor, dh: Tensor, dC: Tensor | None
) -> tuple[Tensor | None, ...]:
    """Backpropagation through time, chunk by chunk, from the last chunk to the first."""
    x, _, _, packed, p, hs, *kept = saved
    cell, width = ctx.cell, x.shape[2]
    U = packed[cell.from_h * dh.shape[1] :, width + 1 :]  # (rows of the blocks that take h, hidden)
    d_packed = packed.new_zeros(packed.t().shape)  # transposed: (width + 1 + hidden, blocks hidden)
    dx = torch.empty_like(x) if ctx.needs_input_grad[2] else None
    dp = None if p is None else torch.zeros_like(p)
    dC = None if dC is None else dC.clone()  # `ChunkBack.run` changes it in place
    chunk, back = None, None
    for number, (first, last) in reversed(list(enumerate(ctx.spans))):
        now = slice(first, last)
        inputs = _inputs(x[:, now], hs[now])
        gates, C = kept[2 * number : 2 * number + 2] if ctx.keep else (None, None)
        if cell.needs_gates and not ctx.keep:
            chunk = of_time(chunk, Chunk, cell, dh, last - first)
            chunk.again(inputs, hs[now], kept[number], packed, p)
            gates, C = chunk.gates, chunk.C
        back = of_time(back, ChunkBack, cell, dh, last - first)
        others = cell.slopes(back.dz, gates, hs[first : last + 1], C, p)
        dh = back.run(d_outputs[:, now], others, dh, dC, U)
        d_packed.addmm_(inputs.t(), flat(back.dz))
        if dx is not None:
            dx[:, now] = (back.dz.flatten(2) @ packed[:, :width]).transpose(0, 1)
        if p is not None:
            dp += cell.peephole_gradient(back.dz, C)
    return dx, dh, dC, d_packed.t(), dp


def rewritten() -> bool:
    """Whether torch transforms, compiles or traces the computation, which works with the plain equations only."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing() or torch._C._are_functorch_transforms_active()


def is_batched(gradient: Tensor | None) -> bool:
    """Whether the tensor holds several gradients: `is_grads_batched` of `torch.autograd.grad` hides that dimension."""
    return gradient is not None and torch._C._functorch.is_legacy_batchedtensor(gradient)


def _inputs(x: Tensor, h_before: Tensor) -> Tensor:
    """Stack [x_t, 1, h_{t-1}], (time batch, width + 1 + hidden), from x (batch, time, width) and h (time, batch, …)."""
    one = x.new_ones(1).expand(*h_before.shape[:2], 1)
    return torch.cat([x.transpose(0, 1), one, h_before], dim=2).flatten(0, 1)
