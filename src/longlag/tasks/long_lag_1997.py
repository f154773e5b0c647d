"""Very long time lags (Hochreiter & Schmidhuber 1997, experiment 2c): recall the first symbol after random ones."""

import math
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from longlag.tasks.task import Batch, Task, classification

X, Y, BEGIN, END = 0, 1, 2, 3  # the distractors are 4..p+3
STOP = 0.1  # probability, at each extra step, that the wait ends
LONGEST_EXTRA = 100  # maximal number of extra steps; longer waits (3 in 100,000) are cut to it


class LongLag1997(Task):
    """Recall at the end which of two symbols was shown at the beginning.

    With lag=7, distractors=3 (numbers are distractors, `<` begins, `>` ends)::

        step     0  1  2  3  4  5  6  7  8  9
        input    <  x  3  1  1  2  3  1  >  2
        target                           x         as in the paper: which of x and y comes after `>`
        scored                           ^

    Between the symbol and the end are lag - 1 + k distractors, k geometric with mean 9, as in the paper, where
    q = lag - 1. So `lag` is the smallest lag of a sequence. The steps after the end are never scored. Chance is 1/2,
    with a loss of ln 2 nats.

    Args:
        lag: smallest number of steps from the symbol to the end, at least 2; the paper's q is lag - 1.
        distractors: number of different distractors, the paper's p, at least 1; None means q.
        solved_at: validation accuracy from which the task counts as solved, or None.

    Raises:
        ValueError: if an argument is out of its range.
    """

    outputs = 2
    chance = 0.5
    memoryless_loss = math.log(2)
    min_lag = 2

    def __init__(self, lag: int, distractors: int | None = None, solved_at: float | None = 0.99):
        if lag < self.min_lag:
            raise ValueError(f"task long_lag_1997: lag must be at least {self.min_lag}, got {lag}")
        if distractors is not None and distractors < 1:
            raise ValueError(f"task.distractors must be at least 1 or null, got {distractors}")
        self.lag, self.solved_at = lag, solved_at
        self.distractors = lag - 1 if distractors is None else distractors
        self.tokens = END + 1 + self.distractors
        self.length = 2 + lag + LONGEST_EXTRA

    def at_lag(self, lag: int) -> Self:
        """The same task, with the same symbols, at another lag."""
        return type(self)(lag, self.distractors, self.solved_at)

    def batch(self, sequences: int, rng: np.random.Generator) -> Batch:
        """Draw `sequences` new sequences, as long as the longest of them needs."""
        extra = np.minimum(rng.geometric(STOP, sequences) - 1, LONGEST_EXTRA)
        end = (1 + self.lag + extra)[:, None]
        first = rng.integers(X, Y + 1, sequences)
        inputs = END + 1 + rng.integers(0, self.distractors, (sequences, end.max() + 1))
        inputs[:, 0], inputs[:, 1] = BEGIN, first
        np.put_along_axis(inputs, end, END, axis=1)
        return Batch(*(torch.from_numpy(part) for part in (inputs, first[:, None], end)))

    def measure(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy (nats), and whether the symbol is right."""
        return classification(outputs, batch.targets)

    def landmarks(self, sequence: Tensor) -> dict[int, str]:
        """The first symbol."""
        return {1: "xy"[int(sequence[1]) - X]}

    def oracle(self, batch: Batch) -> Tensor:
        """Reads the symbol at the step where it was shown."""
        return 100.0 * F.one_hot(batch.inputs[:, 1:2], self.outputs).float()

    def blind(self, batch: Batch) -> Tensor:
        """Predicts both symbols with the same probability."""
        return torch.zeros(*batch.targets.shape, self.outputs)
