"""Copy memory: symbols are shown and must be recalled after a wait (Arjovsky, Shah & Bengio 2016)."""

import math
from typing import ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from longlag.tasks.task import Batch, Task, classification

ALPHABET = 8  # tokens 1..8
BLANK = 0
MARKER = ALPHABET + 1  # 9
DISTRACTORS = 8  # tokens 10..17, never asked for
FILLERS = ("random", "blank")


class Copy(Task):
    """Recall `payload` symbols exactly `lag` steps after each was shown.

    With payload=2, lag=6 (letters are the 8 symbols, digits the 8 distractors, `>` the marker, `.` a blank)::

        step     0  1  2  3  4  5  6  7
        input    c  a  4  0  7  >  .  .      symbols at 0..payload-1, marker at lag-1, length lag+payload
        target                     c  a      symbol i, shown at step i, is due at step lag+i
        scored                     ^  ^

    Only the recall steps are scored: a predictor without memory has accuracy 1/8 and a loss of ln 8 nats, at every
    lag. The literature averages the cross-entropy over all lag+payload steps. `loss_all_steps` converts the recall
    loss to this convention: the other steps, whose target is always a blank, count with loss 0. Its memoryless
    baseline is `memoryless_loss_all_steps` = payload ln 8 / (lag + payload).

    filler=random fills the wait with distractors from a separate alphabet. filler=blank is the form of the literature.
    It has only 8 possible sequences at payload=1, and even an untrained random network then keeps all the information
    that a trained head needs. Solving it therefore does not prove that memory was learned.

    Args:
        lag: steps between a symbol and its recall, at least payload + 1. The literature's T is lag - 10 at payload 10.
        payload: number of symbols to recall, at least 1; the literature has 10.
        filler: what fills the wait, `random` or `blank`.
        solved_at: validation accuracy from which the task counts as solved, or None.

    Raises:
        ValueError: if an argument is out of its range.
    """

    measures: ClassVar[tuple[str, ...]] = ("loss", "accuracy", "exact_match", "loss_all_steps")
    by_position: ClassVar[tuple[str, ...]] = ("accuracy",)
    outputs = ALPHABET
    chance = 1 / ALPHABET
    memoryless_loss = math.log(ALPHABET)

    def __init__(self, lag: int, payload: int = 1, filler: str = "random", solved_at: float | None = 0.99):
        if payload < 1:
            raise ValueError(f"task.payload must be at least 1, got {payload}")
        if lag < payload + 1:
            raise ValueError(f"task copy: lag must be at least payload + 1 = {payload + 1}, got {lag}")
        if filler not in FILLERS:
            raise ValueError(f"task.filler must be one of {', '.join(FILLERS)}, got {filler}")
        self.lag, self.payload, self.filler, self.solved_at = lag, payload, filler, solved_at
        self.min_lag = payload + 1
        self.length = lag + payload
        self.tokens = MARKER + 1 + (DISTRACTORS if filler == "random" else 0)

    @property
    def baselines(self) -> dict[str, float]:
        """The baselines, with that of the literature, payload ln 8 / (lag + payload) nats: .02039 at its T=1000."""
        return super().baselines | {"memoryless_loss_all_steps": self.payload * self.memoryless_loss / self.length}

    def at_lag(self, lag: int) -> Self:
        """The same task at another lag."""
        return type(self)(lag, self.payload, self.filler, self.solved_at)

    def batch(self, sequences: int, rng: np.random.Generator) -> Batch:
        """Draw `sequences` new sequences."""
        symbols = rng.integers(0, ALPHABET, (sequences, self.payload))
        inputs = np.full((sequences, self.length), BLANK)
        inputs[:, : self.payload] = symbols + 1
        if self.filler == "random":
            wait = slice(self.payload, self.lag - 1)
            inputs[:, wait] = MARKER + 1 + rng.integers(0, DISTRACTORS, inputs[:, wait].shape)
        inputs[:, self.lag - 1] = MARKER
        steps = torch.arange(self.lag, self.length).expand(sequences, -1)
        return Batch(torch.from_numpy(inputs), torch.from_numpy(symbols), steps)

    def measure(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Loss (nats), accuracy and `loss_all_steps` at each recall step; `exact_match` (all right) per sequence."""
        measures = classification(outputs, batch.targets)
        return measures | {
            "exact_match": measures["accuracy"].amin(-1),
            "loss_all_steps": measures["loss"] * (self.payload / batch.inputs.shape[1]),
        }

    def landmarks(self, sequence: Tensor) -> dict[int, str]:
        """The symbols, as letters, and the marker."""
        symbols = {step: "abcdefgh"[int(token) - 1] for step, token in enumerate(sequence[: self.payload])}
        return symbols | {len(sequence) - self.payload - 1: ">"}

    def oracle(self, batch: Batch) -> Tensor:
        """Reads the symbols at the steps where they were shown."""
        return 100.0 * F.one_hot(batch.inputs[:, : self.payload] - 1, ALPHABET).float()

    def blind(self, batch: Batch) -> Tensor:
        """Predicts every symbol with the same probability."""
        return torch.zeros(*batch.targets.shape, ALPHABET)
