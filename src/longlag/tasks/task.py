"""The contract of every task."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from longlag.records.schema import Artefact


class Batch(NamedTuple):
    """Sequences with their targets and the steps at which these are due.

    inputs: (batch, time) token numbers, or (batch, time, features) real values.
    targets: (batch, scored, …) the target of each scored step.
    steps: (batch, scored) the time steps at which the head runs and is scored.
    """

    inputs: Tensor
    targets: Tensor
    steps: Tensor

    def rows(self, rank: int, ranks: int) -> "Batch":
        """The rows for device `rank` of `ranks` devices: rank, rank + ranks, …"""
        return self if ranks == 1 else Batch(*(part[rank::ranks] for part in self))

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device."""
        return Batch(*(part.to(device) for part in self))


Predict = Callable[[Tensor, Tensor], Tensor]  # a network: inputs, steps -> outputs


class Task(ABC):
    """Makes batches, says which steps are scored, and computes the measures of a network's outputs at those steps.

    A task is plain Python and torch, without Lightning or Hydra. Every task has an `oracle` predictor with accuracy
    exactly 1 and a `blind` one with accuracy `chance`; tests check both.

    Attributes:
        tokens: size of the vocabulary, or None if the inputs are real values.
        features: width of the inputs, or None if they are tokens.
        outputs: width of the head.
        lag: steps between the step where an item is shown and the step where it must be produced.
        min_lag: the smallest possible lag, given the task's other settings.
        length: maximal number of time steps of a sequence.
        chance: accuracy of the memoryless baseline, the best predictor without memory.
        memoryless_loss: loss of the best predictor without memory, in nats (or the task's unit).
        solved_at: validation accuracy from which the task counts as solved, or None.
        measures: the names of the values that `measure` returns.
        by_position: the measures whose mean at each scored step is reported too.
        probed: index of the scored step from which the gradient is measured.
        max_lag: the largest lag that the data allow, or None if there is no limit.
    """

    tokens: int | None = None
    features: int | None = None
    outputs: int
    lag: int
    min_lag: int
    length: int
    chance: float
    memoryless_loss: float
    solved_at: float | None
    measures: ClassVar[tuple[str, ...]] = ("loss", "accuracy")
    by_position: ClassVar[tuple[str, ...]] = ()
    probed: ClassVar[int] = 0
    max_lag: int | None = None

    @property
    def baselines(self) -> dict[str, float]:
        """The baselines that the test results are compared with, by name; the record stores them."""
        return {"chance": self.chance, "memoryless_loss": self.memoryless_loss}

    def part(self, split: str) -> Self:
        """The task on the data of one split, `train`, `val` or `test`; a task with generated data returns itself."""
        return self

    @property
    def stream_lag(self) -> int:
        """The lag in the key of the random stream: another lag draws other random numbers (see `longlag.stream`)."""
        return self.lag

    @property
    def provenance(self) -> dict[str, Any]:
        """Values that identify the data, for the record; empty for generated data."""
        return {}

    def __str__(self) -> str:
        """The task in a few lines: its sizes, and what a network without memory reaches."""
        seen = f"{self.tokens} symbols" if self.tokens is not None else f"{self.features} real values a step"
        solved = "never" if self.solved_at is None else f"from a validation accuracy of {self.solved_at:g} on"
        return (
            f"{type(self).__name__}: lag {self.lag}, up to {self.length} steps of {seen}, {self.outputs} outputs\n"
            f"chance {self.chance:.3f}, memoryless loss {self.memoryless_loss:.4f}; solved {solved}"
        )

    @abstractmethod
    def batch(self, sequences: int, rng: np.random.Generator) -> Batch:
        """Draw `sequences` new sequences from `rng` alone."""

    @abstractmethod
    def measure(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Compute one tensor for each name in `measures` from the network's outputs (batch, scored, outputs).

        The first dimension is the batch; the reported value is the mean over all entries. `loss` is minimised in
        training; `accuracy` lies in [0, 1].
        """

    @abstractmethod
    def at_lag(self, lag: int) -> Self:
        """The same task at another lag. Raises ValueError below `min_lag`."""

    def on_curve(self, lag: int) -> Self:
        """The task whose test accuracy is the point of the lag curve at `lag`."""
        return self if lag == self.lag else self.at_lag(lag)

    def derived(self, means: dict[str, float]) -> dict[str, float]:
        """Values that are computed from the means of the measures, by name, and are not means themselves."""
        return {}

    def example(self, predict: Predict, rng: np.random.Generator) -> dict[str, Artefact]:
        """Artefacts of a trained network by name, such as generated text; none for most tasks.

        A name consists of small letters, digits and `_`. The artefact is stored in a file of that name, and is shown
        in the report and in W&B: see `longlag.report.artefacts`.
        """
        return {}

    def landmarks(self, sequence: Tensor) -> dict[int, str]:
        """Labels, by step, for the steps of a sequence that a plot should mark in addition to the scored steps."""
        return {}

    @abstractmethod
    def oracle(self, batch: Batch) -> Tensor:
        """Outputs (batch, scored, outputs) of a predictor with perfect memory."""

    @abstractmethod
    def blind(self, batch: Batch) -> Tensor:
        """Outputs (batch, scored, outputs) of the best predictor without memory."""


def classification(outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Cross-entropy in nats and accuracy, each (batch, scored), of outputs (batch, scored, classes)."""
    loss = F.cross_entropy(outputs.flatten(0, 1), targets.flatten(), reduction="none")
    return {"loss": loss.view_as(targets), "accuracy": (outputs.argmax(-1) == targets).float()}
