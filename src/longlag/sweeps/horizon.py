"""The memory horizon: the largest lag at which a model trains to the solved criterion within its budget.

It is found by search instead of a grid: the lag is doubled until training fails, then bisected on a log scale. A lag
holds if at least half of its seeds solve the task; all shorter lags are then assumed to hold, too. Needs no torch.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from longlag.records import Record
from longlag.report import markdown as md


class Trial(NamedTuple):
    """One training run of a search.

    Attributes:
        lag, seed: those of the run.
        solved: whether it met the solved criterion within the budget.
        ended_by: what ended the training, from the record; the status of the run if it did not finish.
        short_of_time: whether it failed after using a larger share of its budget in seconds than in sequences.
        seconds: its computing seconds.
    """

    lag: int
    seed: int
    solved: bool
    ended_by: str
    short_of_time: bool
    seconds: float


def trial(record: Record) -> Trial:
    """The trial of a record. A run that diverged or ran out of memory did not solve its lag."""
    solved, cost = record["solved"], record["cost"]
    ended_by = (record["ended_by"] or "steps") if record["status"] == "finished" else record["status"]
    seconds, limits = cost.get("computing_seconds") or 0.0, record["config"]["budget"]
    short = not solved and _share(seconds, limits["seconds"]) > _share(cost.get("sequences", 0), limits["sequences"])
    return Trial(record["lag"], record["seed"], solved, ended_by, short, seconds)


def _share(used: float, limit: float | None) -> float:
    """The share of a limit that was used; 0 if there is no limit."""
    return used / limit if limit else 0.0


class Search:
    """Asks for trials until the horizon lies between two lags that are at most a factor `resolution` apart.

    A lag is decided as soon as its remaining seeds could not change the decision; these are not run.

    Args:
        first_lag: the first and smallest lag to try.
        max_lag: the largest lag to try.
        seeds: how many seeds to run at each lag, from 0 on; at least half of them must solve it.
        resolution: the largest ratio between the two lags at which the search may end, above 1.
    """

    def __init__(self, first_lag: int, max_lag: int, seeds: int, resolution: float):
        self.first_lag, self.max_lag, self.seeds, self.resolution = first_lag, max_lag, seeds, resolution
        self.needed = math.ceil(seeds / 2)
        self.trials: list[Trial] = []

    def tell(self, trial: Trial) -> None:
        """Add a trial that has ended."""
        self.trials.append(trial)

    def ask(self) -> list[tuple[int, int]]:
        """The lag and the seed of each trial to run now; empty if the search has ended."""
        lag = self._next()
        if lag is None:
            return []
        solved, failed = self._count(lag)
        begun = solved + failed
        # the smallest number of further trials that can decide the lag, by solving it or by failing
        undecided = min(self.needed - solved, self.seeds - self.needed + 1 - failed)
        return [(lag, seed) for seed in range(begun, begun + undecided)]

    def _next(self) -> int | None:
        """The lag to try next, or None at the end of the search.

        It is twice the largest lag that holds; once a larger one has failed, the geometric mean of the two.
        """
        low, high = self.bracket
        if high is None:
            if low is None:
                return self.first_lag
            return None if low == self.max_lag else min(2 * low, self.max_lag)
        if low is None or high <= low * self.resolution or high - low == 1:
            return None
        return min(max(round(math.sqrt(low * high)), low + 1), high - 1)

    @property
    def bracket(self) -> tuple[int | None, int | None]:
        """The largest lag that holds below the smallest that fails, and that smallest lag; None while not known."""
        fails = min((lag for lag in self._lags() if self.holds(lag) is False), default=None)
        below = (lag for lag in self._lags() if self.holds(lag) and (fails is None or lag < fails))
        return max(below, default=None), fails

    def holds(self, lag: int) -> bool | None:
        """Whether a lag holds; None if that is not decided yet."""
        solved, failed = self._count(lag)
        if solved >= self.needed:
            return True
        return False if failed > self.seeds - self.needed else None

    def _count(self, lag: int) -> tuple[int, int]:
        here = [trial.solved for trial in self.trials if trial.lag == lag]
        return sum(here), len(here) - sum(here)

    def _lags(self) -> Iterator[int]:
        return iter(sorted({trial.lag for trial in self.trials}))

    @property
    def found(self) -> dict[str, Any]:
        """The result of the search, as JSON can hold it.

        `memory_horizon` is the largest lag that holds, null if it is below `first_lag`. Up to `low`, every trial solved
        its lag; from `high` on, none did. Either is null if that is true of no lag tried. `censored_by` names a limit
        that ended the search although the model might reach farther: `max_lag`, or `seconds` if all failures at the
        next lag were short of time (see `Trial`).
        """
        value, fails = self.bracket
        failures, successes = ([t.lag for t in self.trials if t.solved is how] for how in (False, True))
        unbroken = [lag for lag in self._lags() if lag < min(failures, default=math.inf)]
        never = [lag for lag in self._lags() if lag > max(successes, default=0)]
        late = [t.short_of_time for t in self.trials if t.lag == fails and not t.solved]
        by_time = "seconds" if late and all(late) else None
        return {
            "memory_horizon": value,
            "low": max(unbroken, default=None),
            "high": min(never, default=None),
            "censored_by": "max_lag" if fails is None else by_time,
            "seconds": sum(t.seconds for t in self.trials),
            "trials": [t._asdict() for t in sorted(self.trials)],
        }

    def __str__(self) -> str:
        """The bracket, in words."""
        low, high = self.bracket
        solved = "nothing solved yet" if low is None else f"solved at {low}"
        return solved + (f", not at {high}" if high else "")


def in_words(found: dict[str, Any]) -> str:
    """The horizon, the results of the trials around it, and the limit that ended the search, if any."""
    low, high = found["low"], found["high"]
    said = [f"every trial solved its lag up to {low}"] if low else []
    said += [f"no trial solved its lag from {high} on"] if high else []
    why = {
        "max_lag": ["max_lag was reached"],
        "seconds": ["at the next lag, the budget of seconds ended before that of sequences"],
    }
    return f"{least(found)} ({'; '.join(said + why.get(found['censored_by'], []))})"


def markdown(found: Sequence[dict[str, Any]]) -> str:
    """The results of several searches as a Markdown table, the largest horizon first."""
    header = ["model", "memory horizon", "every trial solved up to", "none solved from", "trials", "seconds"]
    rows = sorted(zip(names(found), found, strict=True), key=lambda row: -(row[1]["memory_horizon"] or 0))
    return md.table(header, ([md.code(name), *map(md.cell, entries(one))] for name, one in rows))


def names(found: Sequence[dict[str, Any]]) -> list[str]:
    """A name for each search: its model, and the overrides that not all searches share."""
    common = set.intersection(*(set(one["overrides"]) for one in found))
    own = (
        [word for word in one["overrides"] if word not in common and word != f"model={one['model']}"] for one in found
    )
    return [" ".join([one["model"], *words]) for one, words in zip(found, own, strict=True)]


def entries(found: dict[str, Any]) -> list[str]:
    """The entries of a table row: the horizon, `low`, `high`, the number of trials and their computing seconds."""
    ends = (str(found[name] or "–") for name in ("low", "high"))
    return [least(found), *ends, str(len(found["trials"])), f"{found['seconds']:.0f}"]


def least(found: dict[str, Any]) -> str:
    """The horizon in words: a number, "or more" if the search was censored, "below" if no lag held."""
    value = found["memory_horizon"]
    if value is None:
        return f"below {min(t['lag'] for t in found['trials'])}"
    return f"{value} or more" if found["censored_by"] else str(value)
