"""Temporal order (Hochreiter & Schmidhuber 1997, experiments 6a and 6b): in which order were the symbols shown?"""

import math
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from longlag.tasks.task import Batch, Task, classification

DISTRACTORS = 4  # tokens 0..3: a, b, c, d
X, Y, START, QUERY = 4, 5, 6, 7
TOKENS = 8
SHOWN_AT = {2: (0.0, 0.4), 3: (0.0, 0.3, 0.6)}  # earliest steps of the relevant symbols after the first, in lags
JITTER = 0.1  # largest random shift of each later symbol beyond that step, in lags
LEAD = 0.1  # largest number of steps before the first symbol, and after the query, in lags


class TemporalOrder(Task):
    """Name the order of two (6a) or three (6b) symbols X and Y that are far apart among distractors.

    With symbols=2, lag=12 (`<` starts, `?` asks, letters a-d are distractors)::

        step     0  1  2  3  4  5  6  7  8  9 10 11 12 13 14 15
        input    <  X  b  d  a  Y  c  c  b  a  d  a  b  ?  c  a
        target                                          XY         one of XX, XY, YX, YY, at the query
        scored                                          ^

    The query comes exactly `lag` steps after the first relevant symbol; the positions of the relevant symbols are
    random. All orders are equally likely: chance is 1/4 (1/8 with three symbols), with a loss of ln 4 (ln 8) nats.

    In the 1997 task a sequence has 100 to 110 steps, the symbols are at 10-20 and 50-60 (6a) or 10-20, 33-43 and 66-76
    (6b), and the query is at the end: this is about lag=90.

    Args:
        lag: steps from the first relevant symbol to the query, at least 10.
        symbols: 2 (experiment 6a) or 3 (6b).
        solved_at: validation accuracy from which the task counts as solved, or None.

    Raises:
        ValueError: if an argument is out of its range.
    """

    tokens = TOKENS
    min_lag = 10  # keeps the relevant symbols apart

    def __init__(self, lag: int, symbols: int = 2, solved_at: float | None = 0.99):
        if symbols not in SHOWN_AT:
            raise ValueError(f"task.symbols must be 2 or 3, got {symbols}")
        if lag < self.min_lag:
            raise ValueError(f"task temporal_order: lag must be at least {self.min_lag}, got {lag}")
        self.lag, self.symbols, self.solved_at = lag, symbols, solved_at
        self.outputs = 2**symbols
        self.chance, self.memoryless_loss = 1 / self.outputs, math.log(self.outputs)
        self.lead = max(1, round(LEAD * lag))
        self.length = 1 + self.lead + lag

    def at_lag(self, lag: int) -> Self:
        """The same task at another lag."""
        return type(self)(lag, self.symbols, self.solved_at)

    def batch(self, sequences: int, rng: np.random.Generator) -> Batch:
        """Draw `sequences` new sequences."""
        first = rng.integers(1, self.lead + 1, (sequences, 1))
        places = first + self._offsets(sequences, rng)  # (sequences, symbols)
        shown = rng.integers(0, 2, (sequences, self.symbols))
        inputs = rng.integers(0, DISTRACTORS, (sequences, self.length))
        inputs[:, 0] = START
        np.put_along_axis(inputs, places, X + shown, axis=1)
        np.put_along_axis(inputs, first + self.lag, QUERY, axis=1)
        order = shown @ (2 ** np.arange(self.symbols)[::-1])  # XX, XY, YX, YY = 0, 1, 2, 3
        return Batch(*(torch.from_numpy(part) for part in (inputs, order[:, None], first + self.lag)))

    def _offsets(self, sequences: int, rng: np.random.Generator) -> np.ndarray:
        """Number of steps from the first relevant symbol to each of them, (sequences, symbols)."""
        least = np.array([round(share * self.lag) for share in SHOWN_AT[self.symbols]])
        jitter = rng.integers(0, max(1, round(JITTER * self.lag)) + 1, (sequences, self.symbols))
        jitter[:, 0] = 0
        return least + jitter

    def measure(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy (nats), and whether the order is right."""
        return classification(outputs, batch.targets)

    def landmarks(self, sequence: Tensor) -> dict[int, str]:
        """The relevant symbols."""
        return {step: {X: "X", Y: "Y"}[token] for step, token in enumerate(sequence.tolist()) if token in (X, Y)}

    def oracle(self, batch: Batch) -> Tensor:
        """Reads the relevant symbols in order."""
        relevant = batch.inputs[(batch.inputs == X) | (batch.inputs == Y)].view(-1, self.symbols) - X
        order = (relevant * 2 ** torch.arange(self.symbols).flip(0)).sum(-1, keepdim=True)
        return 100.0 * F.one_hot(order, self.outputs).float()

    def blind(self, batch: Batch) -> Tensor:
        """Predicts every order with the same probability."""
        return torch.zeros(*batch.targets.shape, self.outputs)
