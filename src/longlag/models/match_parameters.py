"""Matched parameters: find the width at which a network, or its core alone, has a given number of parameters."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

COARSE, FINE = "hidden_size", "feed_forward_size"  # FINE is used if the core has it and COARSE alone is too coarse
TOLERANCE = 0.02  # accepted relative deviation of the number of parameters
REFUSED_AT_MOST = 64  # consecutive widths that a core may refuse: attention heads require multiples


class Size(NamedTuple):
    """A width, and the number of parameters at that width."""

    width: int
    parameters: int


def matched(
    make: Callable[..., nn.Module], knobs: Mapping[str, Any], parameters: int, setting: str = "budget.parameters"
) -> dict[str, int]:
    """Find the widths at which a module comes closest to a number of parameters.

    The search is over the values of `hidden_size` that the core accepts. A core with attention heads accepts only a
    few. If it also has a `feed_forward_size`, a search over that one makes up the difference.

    Args:
        make: makes the network, or its core, from widths given by name. Raises ValueError for a width that the core
            refuses.
        knobs: the core's settings, by name.
        parameters: the wanted number of parameters; it must grow with the width.
        setting: the name of the setting with that number, for the error message.

    Raises:
        ValueError: if no width comes within 2%.
    """
    if COARSE not in knobs:
        raise ValueError(f"{setting} needs a model with a {COARSE}")
    with torch.random.fork_rng(devices=[]):  # the networks made here do not change the random state
        found, nearest = _solve(make, {}, COARSE, parameters)
        if not _close(nearest, parameters) and FINE in knobs:
            found, nearest = _solve(make, found, FINE, parameters)
    if not _close(nearest, parameters):
        raise ValueError(
            f"{setting}={parameters}: no width of this model comes within 2%; "
            f"the nearest number is {nearest} ({_words(found)})"
        )
    return found


def _solve(
    make: Callable[..., nn.Module], fixed: dict[str, int], knob: str, parameters: int
) -> tuple[dict[str, int], int]:
    """Bisect over one width with all others fixed. Returns the best widths and their number of parameters."""

    def at(width: int) -> Size:
        """Return the smallest accepted width from `width` on."""
        for taken in range(width, width + REFUSED_AT_MOST):
            try:
                return Size(taken, count(make(**fixed, **{knob: taken})))
            except ValueError as error:
                refusal = error
        raise refusal

    low = high = at(1)
    while high.parameters < parameters:
        low, high = high, at(2 * high.width)
    first, last = low.width, high.width  # the widths between them are untested
    while last - first > 1:
        middle = at((first + last) // 2)
        if middle.width >= high.width:  # no accepted width from the middle up to `high`
            last = (first + last) // 2
        elif middle.parameters < parameters:
            low, first = middle, middle.width
        else:
            high, last = middle, (first + last) // 2
    best = min(low, high, key=lambda size: abs(size.parameters - parameters))
    return {**fixed, knob: best.width}, best.parameters


def count(module: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def _close(found: int, wanted: int) -> bool:
    return abs(found - wanted) <= TOLERANCE * wanted


def _words(found: Mapping[str, int]) -> str:
    return ", ".join(f"model.{name}={width}" for name, width in found.items())
