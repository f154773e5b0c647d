"""The adding problem (Hochreiter & Schmidhuber 1997, experiment 4; Arjovsky, Shah & Bengio 2016)."""

from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from longlag.tasks.task import Batch, Task

TOLERANCE = 0.04  # largest error of an answer that counts as right (Hochreiter & Schmidhuber)


class Form(NamedTuple):
    """The variant of one paper: values are U[low, high], the target is shift + scale (sum of the two marked values)."""

    low: float
    high: float
    shift: float
    scale: float

    @property
    def mean(self) -> float:
        """Mean of the target: the best answer without memory."""
        return self.shift + self.scale * (self.low + self.high)

    @property
    def variance(self) -> float:
        """Variance of the target, a sum of two independent values with variance width^2 / 12 each."""
        return 2 * (self.scale * (self.high - self.low)) ** 2 / 12

    @property
    def chance(self) -> float:
        """How often the mean is within TOLERANCE: the sum's density is a triangle of half-width `scale width`."""
        return 1 - (1 - TOLERANCE / (self.scale * (self.high - self.low))) ** 2


FORMS = {"arjovsky": Form(0.0, 1.0, 0.0, 1.0), "hochreiter": Form(-1.0, 1.0, 0.5, 0.25)}


class Adding(Task):
    """Add the two marked values of a long sequence.

    With lag=8, which is also the length of the sequence::

        step     0    1    2    3    4    5    6    7
        value   .61  .03  .92  .48  .77  .15  .54  .29
        mark     0    1    0    0    0    0    1    0     one mark in [0, lag/2), one in [lag/2, lag)
        target                                    .57     .03 + .54, at the last step
        scored                                     ^

    The answer is right if its error is below .04. Without memory the best answer is the mean, 1: its squared error is
    the variance of the target, 1/6, and it is right in 1 - .96^2 = .0784 of cases. form=hochreiter draws the values
    from [-1, 1] with target .5 + sum/4: the variance is 1/24, and the mean is right in 1 - .92^2 = .1536 of cases.

    Args:
        lag: length of the sequence, at least 2.
        form: `arjovsky` or `hochreiter`.
        solved_at: validation accuracy from which the task counts as solved, or None.

    Raises:
        ValueError: if an argument is out of its range.
    """

    features = 2
    outputs = 1
    min_lag = 2

    def __init__(self, lag: int, form: str = "arjovsky", solved_at: float | None = 0.99):
        if lag < self.min_lag:
            raise ValueError(f"task adding: lag must be at least {self.min_lag}, got {lag}")
        if form not in FORMS:
            raise ValueError(f"task.form must be one of {', '.join(FORMS)}, got {form}")
        self.lag = self.length = lag
        self.form, self.solved_at = form, solved_at
        self.chance, self.memoryless_loss = FORMS[form].chance, FORMS[form].variance

    def at_lag(self, lag: int) -> Self:
        """The same task at another length."""
        return type(self)(lag, self.form, self.solved_at)

    def batch(self, sequences: int, rng: np.random.Generator) -> Batch:
        """Draw `sequences` new sequences."""
        form, half = FORMS[self.form], self.lag // 2
        values = rng.uniform(form.low, form.high, (sequences, self.lag))
        marks = np.zeros_like(values)
        row = np.arange(sequences)
        marks[row, rng.integers(0, half, sequences)] = 1
        marks[row, rng.integers(half, self.lag, sequences)] = 1
        inputs = torch.from_numpy(np.stack([values, marks], axis=-1)).float()
        return Batch(inputs, self._answer(inputs), torch.full((sequences, 1), self.lag - 1))

    def measure(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Squared error, and whether the answer is within TOLERANCE."""
        error = outputs[..., 0] - batch.targets
        return {"loss": error.square(), "accuracy": (error.abs() < TOLERANCE).float()}

    def landmarks(self, sequence: Tensor) -> dict[int, str]:
        """The marked values."""
        return {step: f"{value:.2f}" for step, (value, mark) in enumerate(sequence.tolist()) if mark}

    def oracle(self, batch: Batch) -> Tensor:
        """Adds the marked values."""
        return self._answer(batch.inputs)[..., None]

    def blind(self, batch: Batch) -> Tensor:
        """Predicts the mean of the target for every input."""
        return torch.full((*batch.targets.shape, 1), FORMS[self.form].mean)

    def _answer(self, inputs: Tensor) -> Tensor:
        """Compute the targets, (sequences, 1), from the inputs (sequences, time, 2)."""
        form = FORMS[self.form]
        return form.shift + form.scale * inputs.prod(-1).sum(-1, keepdim=True)
