"""Copies of a module, for computing in another precision and for checks."""

import copy
from typing import TypeVar

import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

CPU = torch.device("cpu")
SMALL = 0.01  # a weight below it counts as nearly zero
M = TypeVar("M", bound=nn.Module)


def without_dropout(module: M, device: torch.device = CPU, dtype: torch.dtype = torch.float64) -> M:
    """Return a copy with dropout off and at least the precision of `dtype`.

    Complex numbers stay complex: `Module.to(torch.float64)` would discard their imaginary parts.
    """
    copied = copy.deepcopy(module).to(device)
    for tensor in (*copied.parameters(), *copied.buffers()):
        if tensor.is_floating_point() or tensor.is_complex():
            tensor.data = tensor.data.to(torch.promote_types(tensor.dtype, dtype))
    for part in copied.modules():
        if isinstance(part, _DropoutNd):
            part.p = 0.0
        elif isinstance(part, nn.RNNBase | nn.MultiheadAttention):
            part.dropout = 0.0
    return copied


def without_small_weights(module: M, rng: torch.Generator) -> M:
    """Return a copy whose trained weights below `SMALL` are random numbers of size `SMALL` with the same signs."""
    copied = copy.deepcopy(module)
    for weight in copied.parameters():
        if weight.requires_grad:
            small = SMALL * torch.randn(weight.shape, generator=rng, dtype=weight.dtype).to(weight.device)
            signed = torch.where(weight.data == 0, small, small.abs() * weight.data.sgn())
            weight.data = torch.where(weight.data.abs() < SMALL, signed, weight.data)
    return copied
