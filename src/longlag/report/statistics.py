"""Statistics of sets of runs: pure functions of numbers and records. Needs no torch.

The runs of a set differ in their seed only. A statistic that needs more runs than there are is None. What the intervals
cover is simulated in tests/report/test_coverage.py and quoted in docs/protocol.md.
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple, cast

from scipy.stats import binomtest, t

from longlag.records import Record

CONFIDENCE = 0.95
ENOUGH_SEEDS = 5  # fewer say little about the spread
INTERVAL, RANGE, FINITE_TEST = "interval", "range", "finite test"  # the kinds of bounds
IN_WORDS = (
    "[a, b]: 95% interval (of the score of a single run: what its finite test leaves open); "
    f"(a to b): range over fewer than {ENOUGH_SEEDS} runs, or of a median; without bounds: all runs agree"
)
ACCURATE = 0.9  # an accuracy horizon reaches as far as this


class Estimate(NamedTuple):
    """A value with bounds, which are None where all runs agree or there is one run.

    Attributes:
        value: the estimate.
        low, high: the bounds.
        runs: the number of runs behind it.
        kind: what the bounds are: INTERVAL (95%), RANGE (the smallest and the largest value of the runs), FINITE_TEST
            (95%, of the score of one run for the number of its test sequences), or empty.
    """

    value: float
    low: float | None
    high: float | None
    runs: int
    kind: str = ""

    def bounds(self, number: str) -> str:
        """The bounds in words, with this format of a number, or an empty string."""
        if self.low is None or self.high is None:
            return ""
        low, high = format(self.low, number), format(self.high, number)
        return f" ({low} to {high})" if self.kind == RANGE else f" [{low}, {high}]"


def wilson(fraction: float, trials: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's interval (1927) for `fraction` of `trials` independent trials, to the nearest success."""
    return _wilson(round(fraction * trials), trials, confidence)


@cache
def _wilson(successes: int, trials: int, confidence: float) -> tuple[float, float]:
    interval = binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def success_rate(records: Sequence[Record]) -> Estimate:
    """Share of runs that were solved, with Wilson's interval. Raises ValueError where there is no run."""
    _some(records)
    rate = sum(record["solved"] for record in records) / len(records)
    return Estimate(rate, *wilson(rate, len(records)), len(records), INTERVAL)


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


def accuracy(records: Sequence[Record]) -> Estimate:
    """Mean test accuracy at the trained lag; of a single run, with Wilson's interval for its test sequences."""
    scores = [record["test"]["accuracy"] for record in records]
    if len(scores) == 1:
        return Estimate(scores[0], *wilson(scores[0], records[0]["test"]["sequences"]), 1, FINITE_TEST)
    return mean(scores, 0, 1)


def mean(values: Iterable[float], lowest: float = -math.inf, highest: float = math.inf) -> Estimate:
    """Mean, with Student's t interval from ENOUGH_SEEDS values on and the range of fewer.

    There are no bounds where all values agree: their spread says nothing then.

    Args:
        values: one for each run.
        lowest, highest: what is possible; the interval is cut to it.
    """
    every = list(values)
    _some(every)
    value = statistics.fmean(every)
    if min(every) == max(every):
        return Estimate(value, None, None, len(every))
    if len(every) < ENOUGH_SEEDS:
        return Estimate(value, min(every), max(every), len(every), RANGE)
    half = _student(len(every) - 1) * statistics.stdev(every) / math.sqrt(len(every))
    return Estimate(value, max(lowest, value - half), min(highest, value + half), len(every), INTERVAL)


@cache
def _student(degrees: int) -> float:
    """The quantile of Student's t for a two-sided interval."""
    return float(t.ppf((1 + CONFIDENCE) / 2, degrees))


def median(values: Iterable[float]) -> Estimate:
    """Median with the range."""
    every = list(values)
    _some(every)
    bounds = (None, None, len(every)) if min(every) == max(every) else (min(every), max(every), len(every), RANGE)
    return Estimate(statistics.median(every), *bounds)


def accuracy_horizon(record: Record) -> int | None:
    """The largest lag of the curve at which the trained network scores at least .9; None where it does nowhere."""
    return max((point["lag"] for point in record["lag_curve"] if point["accuracy"] >= ACCURATE), default=None)


def _some(values: Sequence[Any]) -> None:
    if len(values) == 0:
        raise ValueError("statistics of no runs")
