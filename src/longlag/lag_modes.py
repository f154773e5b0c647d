"""Lag modes: the lag of the training sequences is fixed, random or growing. Validation and test always use `lag`."""

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from longlag.tasks.task import Task


class LagMode(ABC):
    """Base class of the lag modes, which choose the lag of each training batch.

    A lag mode of your own defines `task_of`, and also `heed` if its lags depend on the training accuracy.

    Args:
        task: the task to train on; its lag is the longest that a batch may have.
    """

    def __init__(self, task: Task):
        self.task = task.part("train")
        self.growth = [{"batch": 0, "lag": task.lag}]  # each stage: first batch and its lag
        self._made = {task.lag: self.task}

    @property
    def lag(self) -> int:
        """The largest lag of the current training batches."""
        return self.growth[-1]["lag"]

    def until(self, batches: int) -> list[dict[str, int]]:
        """The stages of the growth that began within the first `batches` batches, for the record."""
        return [stage for stage in self.growth if stage["batch"] < batches]

    @abstractmethod
    def task_of(self, batch: int, rng: np.random.Generator) -> Task:
        """The task, at the right lag, that makes global batch number `batch`; `rng` is the generator of that batch."""

    def heed(self, step: int, accuracy: float) -> None:  # noqa: B027  # most modes ignore the accuracy
        """Take note of the mean training accuracy of the last steps before `step`; it is the same on every device."""

    def _at(self, lag: int) -> Task:
        if lag not in self._made:
            self._made[lag] = self.task.at_lag(lag)
        return self._made[lag]

    def state_dict(self) -> dict[str, Any]:
        """The state that a resumed run needs."""
        return {"growth": list(self.growth)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state."""
        self.growth = list(state["growth"])


class Fixed(LagMode):
    """Every batch has the task's lag."""

    def task_of(self, batch: int, rng: np.random.Generator) -> Task:
        """The task at its own lag."""
        return self.task


class Uniform(LagMode):
    """Every batch has a lag drawn uniformly from the task's smallest lag to its own (Henaff, Szlam & LeCun 2016).

    Short lags give a gradient from the first step on, and a solution found at one lag must also work at all others.
    """

    def task_of(self, batch: int, rng: np.random.Generator) -> Task:
        """The task at a lag drawn from `rng`."""
        return self._at(int(rng.integers(self.task.min_lag, self.task.lag, endpoint=True)))


class Curriculum(LagMode):
    """Starts at a short lag and multiplies it whenever the running training accuracy reaches a threshold.

    The running accuracy is the mean over the `log_every_n_steps` steps that are logged together. A new lag applies from
    the batch after next, because the next batch is already made when the accuracy is known.

    Args:
        task: the task to train on; the growth ends at its lag.
        first: the lag to start at; None: the task's smallest lag.
        factor: the factor by which the lag grows, above 1; the lag grows by at least one step.
        threshold: the accuracy at which the lag grows, above 0 and at most 1.

    Raises:
        ValueError: if an argument is out of range.
    """

    def __init__(self, task: Task, first: int | None = None, factor: float = 1.2, threshold: float = 0.98):
        super().__init__(task)
        first = task.min_lag if first is None else first
        if not task.min_lag <= first <= task.lag:
            raise ValueError(f"lag_mode.first must lie from {task.min_lag} to lag={task.lag}, got {first}")
        if not 1 < factor < math.inf:
            raise ValueError(f"lag_mode.factor must be above 1, got {factor}")
        if not 0 < threshold <= 1:
            raise ValueError(f"lag_mode.threshold must be above 0 and at most 1, got {threshold}")
        self.factor, self.threshold = factor, threshold
        self.growth = [{"batch": 0, "lag": first}]

    def task_of(self, batch: int, rng: np.random.Generator) -> Task:
        """The task at the lag of the last stage that began at or before this batch."""
        return self._at([stage["lag"] for stage in self.growth if stage["batch"] <= batch][-1])

    def heed(self, step: int, accuracy: float) -> None:
        """Grow if the accuracy reaches the threshold and was measured, at least in part, at the current lag."""
        heard = step > self.growth[-1]["batch"]  # else the current lag has not been trained on yet
        if heard and accuracy >= self.threshold and self.lag < self.task.lag:
            longer = max(self.lag + 1, math.floor(self.lag * self.factor))
            self.growth.append({"batch": step + 1, "lag": min(longer, self.task.lag)})
