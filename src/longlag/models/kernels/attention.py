"""Causal attention in C, for the Transformer: torch's `scaled_dot_product_attention(q, k, v, is_causal=True)`.

The work is shared among as many threads as torch has, by heads. Nothing of size (time, time) is stored.
"""

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import torch
from torch import Tensor

from longlag.models.kernels.bptt import Once, is_batched, rewritten
from longlag.models.kernels.native import kernels
from longlag.models.kernels.native.bind import Heads
from longlag.models.kernels.native.cells import is_readable

INSTEAD = "set the `kernels` of the core to library (runtime.kernels=library on the command line)"


def can_attend(*tensors: Tensor) -> bool:
    """Whether the kernel runs for these tensors."""
    return not rewritten() and all(map(is_readable, tensors)) and kernels() is not None


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The mean of the values v up to each step, weighted by softmax(q k / sqrt(width)).

    Args:
        q, k, v: (batch, heads, time, width) each, of the same size, that `can_attend` accepts.

    Returns:
        (batch, time, heads, width).

    Raises:
        RuntimeError: for second derivatives, forward-mode differentiation or several gradients at once.
    """
    return Attention.apply(kernels(), *(_features_adjacent(tensor) for tensor in (q, k, v)))


class Attention(torch.autograd.Function):
    """Attention and its gradients."""

    @staticmethod
    def forward(ctx: Any, library: ctypes.CDLL, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return (batch, time, heads, width)."""
        batch, heads, time, width = q.shape
        out, stats = q.new_empty(batch, time, heads, width), q.new_empty(batch, heads, time, 2)
        _shared(library, library.attention_forward, (q, k, v), q, (out, stats))
        ctx.library = library
        ctx.save_for_backward(q, k, v, out, stats)
        return out

    @staticmethod
    def backward(ctx: Any, *incoming: Any) -> tuple[Tensor | None, ...]:
        """Return the gradients with respect to q, k and v."""
        if torch._C._are_functorch_transforms_active() or any(map(is_batched, incoming)):
            raise RuntimeError(f"attention in C cannot take several gradients at once: {INSTEAD}")
        saved = ctx.saved_tensors
        return None, *Once.apply(partial(_gradients, ctx.library, *saved, *incoming), *incoming, *saved[:3])

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        """Refuse forward-mode differentiation."""
        raise RuntimeError(f"attention in C cannot be differentiated forward: {INSTEAD}")


def _gradients(
    library: ctypes.CDLL, q: Tensor, k: Tensor, v: Tensor, out: Tensor, stats: Tensor, d_out: Tensor
) -> tuple[Tensor, ...]:
    """The gradients with respect to q, k and v."""
    gradients = tuple(q.new_empty(q.shape) for _ in range(3))
    incoming = _features_adjacent(d_out).transpose(1, 2)
    _shared(library, library.attention_backward, (q, k, v, incoming), q, (out, stats, *gradients))
    return gradients


def _shared(
    library: ctypes.CDLL, function: Callable[..., None], given: tuple[Tensor, ...], like: Tensor, arrays: Any
) -> None:
    """Call a function of attention.c for all heads, a part of them in each thread."""
    batch, heads, time, width = like.shape
    places = (Heads * len(given))(*(Heads(each.data_ptr(), *each.stride()[:3]) for each in given))

    def run(first: int, last: int) -> None:
        space = like.new_empty(library.attention_space(time, width))
        addresses = [each.data_ptr() for each in (*arrays, space)]
        function(first, last, heads, time, width, width**-0.5, places, *addresses)

    threads = max(1, min(torch.get_num_threads(), batch * heads))
    edges = [batch * heads * number // threads for number in range(threads + 1)]
    if threads == 1:
        run(*edges)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(run, edges[:-1], edges[1:]))


def _features_adjacent(tensor: Tensor) -> Tensor:
    """The tensor, or a copy in which the elements of the last dimension are adjacent."""
    tensor = tensor.resolve_neg()
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] == 1 else tensor.contiguous()
