"""How often the intervals that the tables print contain the true value, simulated. `tools/readme.py` writes the table.

Each outcome is a distribution of the score of one run, with a known mean. For each number of runs, many sets of runs
are drawn; a set counts where the table would print an interval (or, below five runs, a range) for it.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from longlag.report import markdown as md
from longlag.report.statistics import INTERVAL, Estimate, mean, success_rate

SETS = 2000  # simulated sets of runs for each row
RUNS = (3, 5, 10, 20)
Draw = Callable[[np.random.Generator, int], np.ndarray]


class Outcome(NamedTuple):
    """What the score of a run may be.

    Attributes:
        name: in words.
        truth: its mean.
        draw: draws the scores of some runs.
        estimate: the estimate that a table shows of them.
    """

    name: str
    truth: float
    draw: Draw
    estimate: Callable[[np.ndarray], Estimate]


class Coverage(NamedTuple):
    """Of the simulated sets: the share that gets bounds, and among these, the share whose bounds contain the truth."""

    kind: str
    bounded: float
    covered: float


def _solved(rate: float) -> Outcome:
    draw: Draw = lambda rng, runs: rng.random(runs) < rate  # noqa: E731
    share = lambda solved: success_rate([{"solved": bool(one)} for one in solved])  # type: ignore[typeddict-item]  # noqa: E731
    return Outcome(f"share solved, {rate:g} in truth", rate, draw, share)


def _bimodal(rng: np.random.Generator, runs: int) -> np.ndarray:
    solved = rng.random(runs) < 0.6
    return np.where(solved, 1 - 0.01 * rng.random(runs), 0.125 + 0.03 * rng.standard_normal(runs))


def _normal(rng: np.random.Generator, runs: int) -> np.ndarray:
    return 0.6 + 0.1 * rng.standard_normal(runs)


def _accuracy(scores: np.ndarray) -> Estimate:
    return mean(map(float, scores), 0, 1)


OUTCOMES = (
    _solved(0.5),
    _solved(0.8),
    _solved(0.95),
    Outcome("mean accuracy, either .13 or 1", 0.6 * 0.995 + 0.4 * 0.125, _bimodal, _accuracy),
    Outcome("mean accuracy, normal", 0.6, _normal, _accuracy),
)


def simulate(outcome: Outcome, runs: int, sets: int = SETS) -> Coverage:
    """The coverage for one outcome and one number of runs."""
    rng = np.random.default_rng([runs, OUTCOMES.index(outcome)])
    estimates = [outcome.estimate(outcome.draw(rng, runs)) for _ in range(sets)]
    bounded = [(one.low, one.high) for one in estimates if one.low is not None and one.high is not None]
    covered = sum(low - 1e-9 <= outcome.truth <= high + 1e-9 for low, high in bounded)
    kind = next((one.kind for one in estimates if one.kind), "")
    return Coverage(kind, len(bounded) / sets, covered / max(1, len(bounded)))


def table() -> str:
    """The coverage of every outcome and number of runs, in Markdown."""
    rows = [[outcome.name, *_entries(outcome)] for outcome in OUTCOMES]
    return md.table(["", *(f"{runs} runs" for runs in RUNS)], rows)


def _entries(outcome: Outcome) -> Iterator[str]:
    for runs in RUNS:
        found = simulate(outcome, runs)
        yield f"{found.covered:.0%}" + ("" if found.kind == INTERVAL else " (range)")
