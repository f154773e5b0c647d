"""The lag of the training sequences: the task's own, drawn anew, or growing. Validation and test keep to `lag`."""

import math
from typing import Any

import numpy as np

from longlag.tasks.task import Task


class Fixed:
    """Every batch at the task's lag.

    Args:
        task: what is trained.
    """

    def __init__(self, task: Task):
        self.task = task.part("train")
        self.growth = [{"batch": 0, "lag": task.lag}]  # from which batch on which lag; the record has it
        self._made = {task.lag: self.task}

    @property
    def lag(self) -> int:
        """The largest lag that is trained now."""
        return self.growth[-1]["lag"]

    def until(self, batches: int) -> list[dict[str, int]]:
        """The growth within the first `batches` batches."""
        return [stage for stage in self.growth if stage["batch"] < batches]

    def task_of(self, batch: int, rng: np.random.Generator) -> Task:
        """The task that global batch number `batch` is drawn from; `rng` is that batch's."""
        return self.task

    def heed(self, step: int, accuracy: float) -> None:
        """Hear the mean training accuracy of the steps before `step`, the same on every device."""

    def _at(self, lag: int) -> Task:
        if lag not in self._made:
            self._made[lag] = self.task.at_lag(lag)
        return self._made[lag]

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run has to know."""
        return {"growth": list(self.growth)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.growth = list(state["growth"])


class Uniform(Fixed):
    """Every batch at a lag of its own, uniform from the task's smallest to its own (Henaff, Szlam & LeCun 2016).

    Short lags give a gradient from the first step on, and what was learned at one lag must hold at every other.
    """

    def task_of(self, batch: int, rng: np.random.Generator) -> Task:
        """The task at a lag drawn from `rng`."""
        return self._at(int(rng.integers(self.task.min_lag, self.task.lag, endpoint=True)))


class Curriculum(Fixed):
    """Starts short; the lag is multiplied whenever the running training accuracy reaches a threshold.

    The running accuracy is the mean over the `log_every_n_steps` steps that are logged together. A new lag holds from
    the batch after next on: the next one is already made when the accuracy is known.

    Args:
        task: what is trained; its lag is where the growth ends.
        first: the lag to start at; null: the task's smallest.
        factor: what the lag is multiplied by, above 1; it grows by a step at least.
        threshold: the accuracy at which it grows, above 0, at most 1.

    Raises:
        ValueError: where an argument is out of its range.
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
        """The task at the lag that holds at that batch."""
        return self._at([stage["lag"] for stage in self.growth if stage["batch"] <= batch][-1])

    def heed(self, step: int, accuracy: float) -> None:
        """Grow where the accuracy is good enough, and is not of the lag before."""
        heard = step > self.growth[-1]["batch"]
        if heard and accuracy >= self.threshold and self.lag < self.task.lag:
            longer = max(self.lag + 1, math.floor(self.lag * self.factor))
            self.growth.append({"batch": step + 1, "lag": min(longer, self.task.lag)})
