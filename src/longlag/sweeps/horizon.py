"""The memory horizon: the lag at which half of the runs are solved within their budget of sequences.

It is found by trials, each with a seed of its own, at the lags of which `horizon_fit` expects most. The seconds of a
budget are a limit on cost, not on memory: a trial that they end is censored. Needs no torch.
"""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

from longlag import records
from longlag.records import Record
from longlag.training import budget

LOW, HIGH = 0.025, 0.975  # the ends of the interval
EARLIER = (4, 2048)  # first_lag and max_lag of the earlier search by default
CLIMB = 4  # a trial is at most this many times as long as the longest lag solved: long trials cost most
SOLVED, UNSOLVED, CENSORED = "solved", "unsolved", "censored"


class Trial(NamedTuple):
    """One training run of a search.

    Attributes:
        lag, seed: those of the run.
        outcome: SOLVED; UNSOLVED if it used up its sequences, or shows that it will not learn; CENSORED if it was ended
            for another reason, so that nobody knows which of the two it would have been.
        ended_by: what ended the training, from the record; the status of the run if it did not finish.
        seconds: its computing seconds.
    """

    lag: int
    seed: int
    outcome: str
    ended_by: str
    seconds: float


def trial(record: Record) -> Trial:
    """The trial of a record."""
    ended_by = (record["ended_by"] or "steps") if record["status"] == "finished" else record["status"]
    seconds = record["cost"].get("computing_seconds") or 0.0
    return Trial(record["lag"], record["seed"], _outcome(record, ended_by, seconds), ended_by, seconds)


def _outcome(record: Record, ended_by: str, seconds: float) -> str:
    """A run that was solved beyond its limit of seconds is censored, as is one that failed: out of memory, say."""
    limit = record["config"]["budget"]["seconds"]
    if record["solved"] and record["status"] == "finished":
        return SOLVED if limit is None or seconds <= limit else CENSORED
    if ended_by == "no progress":
        return UNSOLVED if _share_of_steps(record) >= (record["config"]["budget"]["no_progress_at"] or 0) else CENSORED
    return UNSOLVED if ended_by in ("steps", "sequences", "diverged") else CENSORED


def _share_of_steps(record: Record) -> float:
    """The share of the steps of its budget that a run took."""
    return record["cost"].get("steps", 0) / budget.steps(records.config_of(record))


class Search:
    """Asks for trials until the 95% interval of the horizon is narrow enough or all trials are used up.

    Censored trials: the interval goes from the lower end if all of them had not been solved to the upper end if all of
    them had been, so that it holds whatever they would have come to. No trial is asked for at such a lag or beyond.

    Args:
        first_lag, max_lag: the smallest and the largest lag to try.
        trials: how many trials to run at most; each has a seed of its own, from 0 on.
        resolution: the search ends when the ends of the interval are at most this factor apart.
        at_once: how many trials to ask for at a time.
    """

    def __init__(self, first_lag: int, max_lag: int, trials: int, resolution: float, at_once: int):
        self.first_lag, self.max_lag, self.resolution = first_lag, max_lag, resolution
        self.most, self.at_once = trials, at_once
        self.trials: list[Trial] = []
        from longlag.sweeps.horizon_fit import Curves  # --help must not pay for numpy and scipy

        self.curves = Curves(first_lag, max_lag, resolution)
        self.if_unsolved = self.if_solved = self.curves.prior  # the weights if censored trials were one or the other

    def tell(self, trial: Trial) -> None:
        """Add a trial that has ended."""
        self.trials.append(trial)
        self.if_unsolved = self.curves.told(self.if_unsolved, trial.lag, trial.outcome == SOLVED)
        self.if_solved = self.curves.told(self.if_solved, trial.lag, trial.outcome != UNSOLVED)

    def ask(self) -> list[tuple[int, int]]:
        """The lag and the seed of each trial to run now; empty if the search has ended.

        The first is alone, at `first_lag`: it costs least, and shows whether the task can be run there at all. Of those
        of one round, all but the first take for granted that the ones before come out as expected.
        """
        begun, weights, wanted = len(self.trials), self.if_unsolved, list[tuple[int, int]]()
        if not begun:
            return [(self.first_lag, 0)]
        if self._narrow:
            return []
        for seed in range(begun, min(begun + self.at_once, self.most)):
            lag = self.curves.most_informative(weights, self.first_lag, self._reach)
            if lag is None:
                break
            wanted.append((lag, seed))
            weights = self.curves.told(weights, lag, float(self.curves.mean(weights, [lag])[0]))
        return wanted

    @property
    def _reach(self) -> int:
        """The largest lag to try now."""
        climb = CLIMB * max([self.first_lag, *self._lags(SOLVED)])
        return min([climb, self.max_lag, *(lag - 1 for lag in self._lags(CENSORED))])

    @property
    def _narrow(self) -> bool:
        """Whether the interval is narrow enough, as far as it lies among the lags that can be tried."""
        top = max(self.first_lag, min([self.max_lag, *self._lags(CENSORED)]))
        low, high = self._ends
        if low < self.first_lag and high > top:
            return False
        low, high = (min(max(end, self.first_lag), top) for end in (low, high))
        return high <= low * self.resolution or math.ceil(high) - math.floor(low) <= 1

    @property
    def _ends(self) -> tuple[float, float]:
        """The ends of the 95% interval of the horizon, wherever they lie."""
        return self.curves.quantile(self.if_unsolved, LOW), self.curves.quantile(self.if_solved, HIGH)

    def _lags(self, outcome: str) -> list[int]:
        return [trial.lag for trial in self.trials if trial.outcome == outcome]

    @property
    def found(self) -> dict[str, Any]:
        """The result of the search, as JSON can hold it.

        `memory_horizon` is the estimate, null where it lies below `first_lag` or is not known. `interval` has its ends,
        each null where it lies outside of the lags from `first_lag` to `max_lag`. `at_least` says that the estimate is
        not known because of `max_lag` or of censored trials: these would move it by more than `resolution`, if they had
        been solved. `largest_solved` and `smallest_unsolved` are lags of trials, whatever the fit says.
        """
        value, highest = (self.curves.quantile(weights, 0.5) for weights in (self.if_unsolved, self.if_solved))
        at_least = highest > min(self.max_lag, value * self.resolution)
        low, high = self._ends
        return {
            "first_lag": self.first_lag,
            "max_lag": self.max_lag,
            "resolution": self.resolution,
            "memory_horizon": None if at_least or value < self.first_lag else round(value),
            "interval": [
                None if low < self.first_lag else min(math.floor(low), self.max_lag),
                None if high > self.max_lag else max(math.ceil(high), self.first_lag),
            ],
            "at_least": at_least,
            "largest_solved": max(self._lags(SOLVED), default=None),
            "smallest_unsolved": min(self._lags(UNSOLVED), default=None),
            "censored": len(self._lags(CENSORED)),
            "seconds": sum(trial.seconds for trial in self.trials),
            "trials": [trial._asdict() for trial in sorted(self.trials)],
        }


def again(found: dict[str, Any]) -> Search:
    """The search of a result, told all its trials."""
    trials = [Trial(**told) for told in found["trials"]]
    search = Search(found["first_lag"], found["max_lag"], len(trials), found["resolution"], at_once=1)
    for one in trials:
        search.tell(one)
    return search


def read(path: Path) -> list[dict[str, Any]]:
    """The results in a file. Those of the earlier search, by doubling and bisection, are estimated anew: `earlier`."""
    return [one if "interval" in one else _upgraded(one) for one in json.loads(path.read_text(encoding="utf-8"))]


def _upgraded(found: dict[str, Any]) -> dict[str, Any]:
    """A result of the earlier search as one of today, from its trials.

    The file does not say which lags that search might have tried: the defaults of that time stand for them.
    """
    trials = [_upgraded_trial(told, found["budget"]["seconds"]) for told in found["trials"]]
    lags = [one.lag for one in trials]
    about = {key: found[key] for key in ("overrides", "model", "task", "budget")} | {"earlier": True}
    result = {"first_lag": min(EARLIER[0], *lags), "max_lag": max(EARLIER[1], *lags), "resolution": found["resolution"]}
    return about | again(result | {"trials": [one._asdict() for one in trials]}).found


def _upgraded_trial(told: dict[str, Any], limit: float | None) -> Trial:
    """In those files, `solved` says nothing of the limit of seconds, and `short_of_time` that they ran out first."""
    late = limit is not None and told["seconds"] > limit
    outcome = SOLVED if told["solved"] else UNSOLVED
    if told["short_of_time"] or late or told["ended_by"] in ("failed", "interrupted"):
        outcome = CENSORED
    ended_by = "no progress" if told["ended_by"] == "hopeless" else told["ended_by"]
    return Trial(told["lag"], told["seed"], outcome, ended_by, told["seconds"])
