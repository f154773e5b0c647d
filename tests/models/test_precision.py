"""In float32 the fused and the native cells are as exact as their equations under autograd, however small the signal.

Both are measured against the equations in float64. The bound is ten times the error of the reference, or of a few
roundings where the reference was lucky.
"""

import pytest
import torch
from torch import Tensor

from helpers.cells import CELLS, everything, state_of
from longlag.models.kernels import bptt
from longlag.models.scratch import Scratch

SCALES = (1e-8, 1e-6, 1e-3, 0.1, 1.0, 10.0)
SHAPES = ((1, 1, 1), (3, 22, 2), (33, 70, 1))  # batch, time, layers
INITS = [
    (make, init)
    for make in CELLS
    for init in ("orthogonal", "chrono")
    if init != "chrono" or make.architecture != "rnn"
]
TIMES, ROUNDINGS = 10, 4 * torch.finfo(torch.float32).eps
LEAST = 1e-30  # near the smallest numbers that float32 holds, digits are lost in any case


def cores(make: type[Scratch], layers: int, init: str) -> tuple[Scratch, ...]:
    """The truth, the reference, the fused cell both ways and the native one, with the same weights.

    All biases but chrono's are 0.
    """
    truth, *others = (
        make(5, 16, layers, init=init, t_max=15_000, impl=impl, memory=memory)
        for impl, memory in (
            ("reference", "normal"),
            ("reference", "normal"),
            ("fused", "normal"),
            ("fused", "low"),
            ("native", "normal"),
        )
    )
    for other in others:
        other.load_state_dict(truth.state_dict())
    return truth.double(), *others


def errors(found: Tensor, truth: Tensor) -> dict[str, float]:
    """Relative to the truth: the median over the entries, and the norm."""
    counts = truth.abs() > LEAST
    differs, truth = found.double()[counts] - truth[counts], truth[counts]
    return {"median": (differs / truth).abs().quantile(0.5).item(), "norm": (differs.norm() / truth.norm()).item()}


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("make", "init"), INITS)
def test_relative_error_is_the_references(make, init, shape, scale, monkeypatch):
    monkeypatch.setattr(bptt, "ROWS", 600)
    torch.manual_seed(0)
    batch, time, layers = shape
    truth, reference, *fused = cores(make, layers, init)
    x, state = scale * torch.randn(batch, time, 5), [scale * part for part in state_of(reference, batch)]
    true = everything(truth, x.double(), [part.double() for part in state])
    known = {name: errors(value, true[name]) for name, value in everything(reference, x, state).items()}
    for core in fused:
        for name, value in everything(core, x, state).items():
            for measure, error in errors(value, true[name]).items():
                assert error <= TIMES * max(known[name][measure], ROUNDINGS), (core.impl, core.memory, name, measure)


@pytest.mark.parametrize(("make", "init"), INITS)
def test_relative_error_over_long_time_scales(make, init):
    """Of single outputs: the 99th percentile of their relative errors over 1000 steps; a 0 that is exact has none."""
    torch.manual_seed(0)
    truth, reference, *fused = cores(make, 1, init)
    x = torch.randn(4, 1000, 5)
    with torch.no_grad():
        true = truth(x.double())
        known, *found = (
            ((core(x).double() - true) / true).abs().flatten().nanquantile(0.99) for core in (reference, *fused)
        )
    assert max(found) <= TIMES * known
