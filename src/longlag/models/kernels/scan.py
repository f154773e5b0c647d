"""The linear scan h_t = a_t h_{t-1} + b_t, real or complex: the recurrence of the cores that are linear in their state.

One autograd.Function with hand-written gradients, which goes through the steps in C where the native kernels are
(float32 and complex64 on the CPU), otherwise in torch. With d_t = dL/dh_t through the outputs and the later steps:

    d_t = d_outputs_t + a*_{t+1} d_{t+1},    db_t = d_t,    da_t = d_t h*_{t-1}      (* is the complex conjugate)
"""

import ctypes
from functools import partial
from typing import Any

import torch
from torch import Tensor

from longlag.models.kernels.bptt import INSTEAD, Once, is_batched, rewritten
from longlag.models.kernels.native import kernels
from longlag.models.kernels.native.cells import is_readable


def scan(a: Tensor, b: Tensor, h_0: Tensor | None = None) -> Tensor:
    """Return h_1, …, h_T, (batch, time, width), for h_t = a_t h_{t-1} + b_t.

    Under `torch.func`, `torch.compile`, `torch.export` and tracing, `scan_reference` runs.

    Args:
        a: anything that broadcasts to b. If it is the same at all times, as (width,) or (…, 1, width), then its
            gradient is summed over time without being stored for each step.
        b: (batch, time, width), with at least one step.
        h_0: (batch, width); zero by default.

    Raises:
        ValueError: if a size or a type does not fit.
        RuntimeError: for second derivatives, forward-mode differentiation or several gradients at once.
    """
    a, h_0 = _fitting(a, b, h_0)
    if rewritten():
        return scan_reference(a, b, h_0)
    # The kernels read the memory as it is: a tensor that only stands for a conjugate or a negative becomes a copy.
    a, b, h_0 = (tensor.resolve_conj().resolve_neg() for tensor in (a, b, h_0))
    library = kernels() if all(is_readable(tensor, or_complex=True) for tensor in (a, b, h_0)) else None
    return Scan.apply(library, a, b, h_0)


def scan_reference(a: Tensor, b: Tensor, h_0: Tensor | None = None) -> Tensor:
    """The same by the equation under autograd, which has derivatives of every kind."""
    a, h = _fitting(a, b, h_0)
    steps = []
    for a_t, b_t in zip(a.expand(b.shape).unbind(1), b.unbind(1), strict=True):
        h = a_t * h + b_t  # h_t = a_t h_{t-1} + b_t
        steps.append(h)
    return torch.stack(steps, dim=1)


class Scan(torch.autograd.Function):
    """The scan and its gradients. a is (batch, time, width), or (batch, 1, width) if it is the same at all times."""

    @staticmethod
    def forward(ctx: Any, library: ctypes.CDLL | None, a: Tensor, b: Tensor, h_0: Tensor) -> Tensor:
        """Return h_1, …, h_T (batch, time, width)."""
        h = b.new_empty(b.shape)
        if library is None:
            _forward(a, b, h_0, h)
        else:
            a, b, h_0 = _units_adjacent(a), _units_adjacent(b), h_0.contiguous()
            _function(library, b, "forward")(
                *b.shape, a.data_ptr(), *_strides(a), b.data_ptr(), *_strides(b), h_0.data_ptr(), h.data_ptr()
            )
        ctx.library = library
        ctx.save_for_backward(a, h_0, h)
        return h

    @staticmethod
    def backward(ctx: Any, *incoming: Any) -> tuple[Tensor | None, ...]:
        """Return the gradients with respect to a, b and h_0."""
        if torch._C._are_functorch_transforms_active() or any(map(is_batched, incoming)):
            raise RuntimeError(f"a fused loop cannot take several gradients at once: {INSTEAD}")
        saved = ctx.saved_tensors
        return None, *Once.apply(partial(_gradients, ctx.library, *saved, *incoming), *incoming, *saved)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        """Refuse forward-mode differentiation."""
        raise RuntimeError(f"a fused loop cannot be differentiated forward: {INSTEAD}")


def _gradients(
    library: ctypes.CDLL | None, a: Tensor, h_0: Tensor, h: Tensor, d_outputs: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients with respect to a, b and h_0."""
    if library is None:
        return _backward(a, h_0, h, d_outputs)
    d_outputs = _units_adjacent(d_outputs.resolve_conj().resolve_neg())
    da = a.new_zeros(a.shape) if a.shape[1] == 1 else a.new_empty(a.shape)  # the kernel adds to a sum over time
    db, dh_0 = torch.empty_like(h), torch.empty_like(h_0)
    _function(library, h, "backward")(
        *h.shape, a.shape[1] == 1, a.data_ptr(), *_strides(a), h_0.data_ptr(), h.data_ptr(), d_outputs.data_ptr(),
        *_strides(d_outputs), da.data_ptr(), db.data_ptr(), dh_0.data_ptr(),
    )  # fmt: skip
    return da, db, dh_0


def _forward(a: Tensor, b: Tensor, h_0: Tensor, h: Tensor) -> None:
    """Fill h step by step in torch."""
    before = h_0
    for a_t, b_t, h_t in zip(a.expand(b.shape).unbind(1), b.unbind(1), h.unbind(1), strict=True):
        before = torch.addcmul(b_t, a_t, before, out=h_t)


def _backward(a: Tensor, h_0: Tensor, h: Tensor, d_outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients step by step in torch."""
    d = d_outputs.clone(memory_format=torch.contiguous_format)
    ds, conjugates = d.unbind(1), a.conj().resolve_conj().expand(h.shape).unbind(1)
    for t in reversed(range(1, len(ds))):
        ds[t - 1].addcmul_(conjugates[t], ds[t])
    da = d * torch.cat([h_0[:, None], h[:, :-1]], dim=1).conj()
    return da.sum(1, keepdim=True) if a.shape[1] == 1 else da, d, conjugates[0] * ds[0]


def _fitting(a: Tensor, b: Tensor, h_0: Tensor | None) -> tuple[Tensor, Tensor]:
    """a as (batch, time or 1, width), and h_0."""
    if b.dim() != 3 or b.shape[1] == 0:
        raise ValueError(f"expected b as (batch, time, width) with at least one step, got {tuple(b.shape)}")
    batch, time, width = b.shape
    h_0 = b.new_zeros(batch, width) if h_0 is None else h_0
    if h_0.shape != (batch, width):
        raise ValueError(f"expected h_0 as (batch, width) = {(batch, width)}, got {tuple(h_0.shape)}")
    if not a.dtype == b.dtype == h_0.dtype:
        raise ValueError(f"expected a, b and h_0 of one type, got {a.dtype}, {b.dtype} and {h_0.dtype}")
    constant = a.dim() < 2 or a.shape[-2] == 1
    try:
        return a.expand(batch, 1 if constant else time, width), h_0
    except RuntimeError as error:
        raise ValueError(f"expected a that broadcasts to b, {tuple(b.shape)}, got {tuple(a.shape)}") from error


def _function(library: ctypes.CDLL, like: Tensor, part: str) -> Any:
    return getattr(library, f"scan_{'complex_' if like.is_complex() else ''}{part}")


def _units_adjacent(tensor: Tensor) -> Tensor:
    """The tensor, or a copy in which the elements of the last dimension are adjacent."""
    return tensor if tensor.stride(2) == 1 else tensor.contiguous()


def _strides(tensor: Tensor) -> tuple[int, int]:
    """Over the batch and over time; 0 over time if there is one step for all times."""
    return tensor.stride(0), 0 if tensor.shape[1] == 1 else tensor.stride(1)
