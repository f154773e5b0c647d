"""Matched size: how wide a core must be for the whole network to have a given number of parameters."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

COARSE, FINE = "hidden_size", "feed_forward_size"  # the second where a core has it and the first is too coarse
TOLERANCE = 0.02
REFUSED_AT_MOST = 64  # widths one after another: heads ask for multiples


class Size(NamedTuple):
    """A width, and the parameters of the network that has it."""

    width: int
    parameters: int


def matched(make: Callable[..., nn.Module], knobs: Mapping[str, Any], parameters: int) -> dict[str, int]:
    """The widths at which a network comes closest to a number of parameters.

    The `hidden_size` is solved for, among the widths that the core takes. A core with heads takes few: where it also
    has a `feed_forward_size`, that makes up the difference.

    Args:
        make: the network, given widths by name. Raises ValueError for a width that the core does not take.
        knobs: of the core, by name.
        parameters: that the network should have; more with more width.

    Raises:
        ValueError: where no width comes within 2%.
    """
    if COARSE not in knobs:
        raise ValueError(f"budget.parameters needs a model with a {COARSE}")
    with torch.random.fork_rng(devices=[]):  # what is tried leaves no trace
        found, nearest = _solve(make, {}, COARSE, parameters)
        if not _close(nearest, parameters) and FINE in knobs:
            found, nearest = _solve(make, found, FINE, parameters)
    if not _close(nearest, parameters):
        raise ValueError(f"budget.parameters={parameters}: the closest this model comes is {nearest} ({_words(found)})")
    return found


def _solve(
    make: Callable[..., nn.Module], fixed: dict[str, int], knob: str, parameters: int
) -> tuple[dict[str, int], int]:
    """By bisection over one width, all others fixed: the best, and the parameters it comes to."""

    def at(width: int) -> Size:
        """The smallest that is taken, from `width` on."""
        for taken in range(width, width + REFUSED_AT_MOST):
            try:
                return Size(taken, count(make(**fixed, **{knob: taken})))
            except ValueError as error:
                refusal = error
        raise refusal

    low = high = at(1)
    while high.parameters < parameters:
        low, high = high, at(2 * high.width)
    first, last = low.width, high.width  # between them is what has not been tried
    while last - first > 1:
        middle = at((first + last) // 2)
        if middle.width >= high.width:
            last = (first + last) // 2
        elif middle.parameters < parameters:
            low, first = middle, middle.width
        else:
            high, last = middle, (first + last) // 2
    best = min(low, high, key=lambda size: abs(size.parameters - parameters))
    return {**fixed, knob: best.width}, best.parameters


def count(module: nn.Module) -> int:
    """Trainable numbers."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def _close(found: int, wanted: int) -> bool:
    return abs(found - wanted) <= TOLERANCE * wanted


def _words(found: Mapping[str, int]) -> str:
    return ", ".join(f"model.{name}={width}" for name, width in found.items())
