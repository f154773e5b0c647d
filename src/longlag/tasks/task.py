"""The contract every task keeps."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


class Batch(NamedTuple):
    """Sequences with what must be produced and when.

    inputs: (batch, time) token numbers, or (batch, time, features) real values.
    targets: (batch, scored, …) what is due at each scored step.
    steps: (batch, scored) the time steps at which the read-out runs and is scored.
    """

    inputs: Tensor
    targets: Tensor
    steps: Tensor

    def rows(self, rank: int, ranks: int) -> "Batch":
        """The share of one of `ranks` devices: rows rank, rank + ranks, …"""
        return self if ranks == 1 else Batch(*(part[rank::ranks] for part in self))

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device."""
        return Batch(*(part.to(device) for part in self))


Predict = Callable[[Tensor, Tensor], Tensor]  # a network: inputs, steps -> outputs


class Task(ABC):
    """Makes batches, says which steps are scored, and scores what a network produced there.

    Plain Python and torch: no Lightning, no Hydra. Every task ships an `oracle`, which scores exactly 1, and a `blind`
    predictor, which scores `chance`; tests hold the ruler against both.

    Attributes:
        tokens: size of the vocabulary, or None where the inputs are real values.
        features: width of the inputs, or None where they are tokens.
        outputs: width of the read-out.
        lag: steps between the step where an item is shown and the step where it must be produced.
        min_lag: the smallest lag the task can be made at with its other knobs as they are.
        length: time steps of a sequence, at most.
        chance: accuracy of a model that remembers nothing.
        memoryless_loss: loss of the best model that remembers nothing, in nats (or the task's unit).
        solved_at: validation accuracy that counts as solved, or None where nothing does.
        measures: the names of what `measure` returns.
        by_position: those of them whose mean at each scored step is reported too.
        probed: which of the scored steps the gradient is measured from, as an index.
        max_lag: the largest lag its data allow, or None.
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
        """The lines to hold the test figures against, by name; they stand beside them in the record."""
        return {"chance": self.chance, "memoryless_loss": self.memoryless_loss}

    def part(self, split: str) -> Self:
        """The task on the data of one split, `train`, `val` or `test`; a task that makes its data up has no parts."""
        return self

    @property
    def stream_lag(self) -> int:
        """The lag that its batches are drawn for: another lag, other numbers (see `longlag.stream`)."""
        return self.lag

    @property
    def provenance(self) -> dict[str, Any]:
        """What tells the data from all others, for the record; nothing where they are made up."""
        return {}

    @abstractmethod
    def batch(self, sequences: int, rng: np.random.Generator) -> Batch:
        """`sequences` fresh sequences, drawn from `rng` alone."""

    @abstractmethod
    def measure(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """What the network's outputs (batch, scored, outputs) are worth, one tensor for each name in `measures`.

        The first dimension is the batch; the figure that is reported is the mean over all entries. `loss` is what is
        minimised; `accuracy` lies in [0, 1].
        """

    @abstractmethod
    def at_lag(self, lag: int) -> Self:
        """The same task at another lag. Raises ValueError below `min_lag`."""

    def on_curve(self, lag: int) -> Self:
        """The task whose score stands in the lag curve at `lag`."""
        return self if lag == self.lag else self.at_lag(lag)

    def derived(self, means: dict[str, float]) -> dict[str, float]:
        """Figures that are no means themselves but follow from the means of the measures, by name."""
        return {}

    def example(self, predict: Predict, rng: np.random.Generator) -> dict[str, Any]:
        """Something to look at that a trained network made, as JSON can hold it; most tasks have nothing."""
        return {}

    def landmarks(self, sequence: Tensor) -> dict[int, str]:
        """The steps of a sequence that a picture of it should name, beside those that are scored; by step."""
        return {}

    @abstractmethod
    def oracle(self, batch: Batch) -> Tensor:
        """Outputs (batch, scored, outputs) of a player with perfect memory."""

    @abstractmethod
    def blind(self, batch: Batch) -> Tensor:
        """Outputs (batch, scored, outputs) of the best player without memory."""


def classification(outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Cross-entropy in nats and accuracy, each (batch, scored), of outputs (batch, scored, classes)."""
    loss = F.cross_entropy(outputs.flatten(0, 1), targets.flatten(), reduction="none")
    return {"loss": loss.view_as(targets), "accuracy": (outputs.argmax(-1) == targets).float()}
