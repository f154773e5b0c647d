"""Statistics of sets of runs: pure functions of numbers and records. Needs no torch.

The runs of a set differ in their seed only. A statistic that needs more runs than there are is None.
"""

import statistics
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from scipy.stats import binomtest, bootstrap

from longlag.records import Record

CONFIDENCE = 0.95
RESAMPLES = 9999
ENOUGH_SEEDS = 5  # fewer say little about the spread
ACCURATE = 0.9  # an accuracy horizon reaches as far as this


class Estimate(NamedTuple):
    """A value, the 95% interval around it (None where it cannot be had), and the number of runs behind it."""

    value: float
    low: float | None
    high: float | None
    runs: int


def wilson(fraction: float, trials: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's interval (1927) for `fraction` of `trials` independent trials, to the nearest success."""
    interval = binomtest(round(fraction * trials), trials).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def success_rate(records: Sequence[Record]) -> Estimate:
    """Share of runs that were solved, with Wilson's interval. Raises ValueError where there is no run."""
    _some(records)
    rate = sum(record["solved"] for record in records) / len(records)
    return Estimate(rate, *wilson(rate, len(records)), len(records))


def median_to_solve(records: Sequence[Record], what: str = "steps_to_solve") -> float | None:
    """Median over all runs of what solving took; None where it lies beyond the budget.

    A run that was not solved took more than any that was: it counts, as infinitely many. Leaving such runs out would
    make a model that is solved now and then look fast.

    Args:
        records: of one budget.
        what: `steps_to_solve`, `sequences_to_solve` or `seconds_to_solve`.
    """
    _some(records)
    found = [cast("Any", record)[what] for record in records]
    taken = [float("inf") if value is None else float(value) for value in found]
    median = statistics.median(taken)
    return None if median == float("inf") else median


def mean(values: Iterable[float]) -> Estimate:
    """Mean with a percentile-bootstrap interval; of one value, none."""
    return _bootstrapped(list(values), np.mean)


def median(values: Iterable[float]) -> Estimate:
    """Median with a percentile-bootstrap interval; of one value, none."""
    return _bootstrapped(list(values), np.median)


def accuracy_horizon(record: Record) -> int | None:
    """The largest lag of the curve at which the trained network scores at least .9; None where it does nowhere."""
    return max((point["lag"] for point in record["lag_curve"] if point["accuracy"] >= ACCURATE), default=None)


def _bootstrapped(values: list[float], statistic: Any) -> Estimate:
    _some(values)
    value = float(statistic(np.asarray(values), axis=-1))
    if len(values) == 1:
        return Estimate(value, None, None, 1)
    resampled = bootstrap(
        (values,), statistic, n_resamples=RESAMPLES, method="percentile", rng=np.random.default_rng(0)
    )
    interval = resampled.confidence_interval
    return Estimate(value, float(interval.low), float(interval.high), len(values))


def _some(values: Sequence[Any]) -> None:
    if len(values) == 0:
        raise ValueError("statistics of no runs")
