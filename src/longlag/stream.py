"""A task as endless, seeded, resumable batches, one stream per split.

Global batch *i* of a split is a function of (seed, split, i) and the lag alone; rank r of n takes its rows r::n. So all
models see the same data, the number of devices changes nothing, and a resumed run goes on where it stopped.
"""

from collections.abc import Iterator

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, IterableDataset

from longlag.lag_modes import Fixed
from longlag.tasks.task import Batch, Task

SPLITS = {"train": 0, "val": 1, "test": 2, "example": 3}
EVALUATION_BATCH = 128  # sequences at once where no gradient is kept


def generator(seed: int, split: str, index: int) -> np.random.Generator:
    """The random numbers of global batch `index` (128 bits of state; `torch.manual_seed` would keep 32)."""
    return np.random.default_rng(np.random.SeedSequence([seed, SPLITS[split], index]))


def fixed_batches(task: Task, split: str, seed: int, sequences: int) -> Iterator[Batch]:
    """The first `sequences` sequences of a split, the same at every call; of fewer, the first ones."""
    for index, start in enumerate(range(0, sequences, EVALUATION_BATCH)):
        whole = task.part(split).batch(EVALUATION_BATCH, generator(seed, split, index))
        yield Batch(*(part[: sequences - start] for part in whole))


class TrainStream(IterableDataset[Batch]):
    """Batches `start`, `start` + 1, … of the training stream, without end; `lags` says at which lag each is made."""

    def __init__(self, lags: Fixed, seed: int, batch_size: int, start: int = 0, rank: int = 0, ranks: int = 1):
        self.lags, self.seed, self.batch_size = lags, seed, batch_size
        self.start, self.rank, self.ranks = start, rank, ranks

    def __iter__(self) -> Iterator[Batch]:
        index = self.start
        while True:
            rng = generator(self.seed, "train", index)
            task = self.lags.task_of(index, rng)
            yield task.batch(self.batch_size, rng).rows(self.rank, self.ranks)
            index += 1


class ValidationStream(IterableDataset[Batch]):
    """The same `sequences` validation sequences every time."""

    def __init__(self, task: Task, seed: int, sequences: int, rank: int = 0, ranks: int = 1):
        self.task, self.seed, self.sequences = task, seed, sequences
        self.rank, self.ranks = rank, ranks

    def __iter__(self) -> Iterator[Batch]:
        for batch in fixed_batches(self.task, "val", self.seed, self.sequences):
            share = batch.rows(self.rank, self.ranks)
            if len(share.inputs):
                yield share


class Streams(pl.LightningDataModule):
    """The training and validation streams of one run, as Lightning asks for them.

    Args:
        task: makes the batches.
        lags: the lags of the training batches.
        seed: of the run.
        batch_size: sequences in a global batch, shared among the devices.
        validation_sequences: how many fixed sequences a validation scores.
    """

    def __init__(self, task: Task, lags: Fixed, seed: int, batch_size: int, validation_sequences: int):
        super().__init__()
        self.task, self.lags, self.seed, self.batch_size = task, lags, seed, batch_size
        self.validation_sequences = validation_sequences

    def train_dataloader(self) -> DataLoader[Batch]:
        """From the trainer's current step on: a resumed run repeats nothing."""
        trainer = self.trainer
        share = trainer.global_rank, trainer.world_size
        return _loader(TrainStream(self.lags, self.seed, self.batch_size, trainer.global_step, *share))

    def val_dataloader(self) -> DataLoader[Batch]:
        """The fixed validation sequences."""
        share = self.trainer.global_rank, self.trainer.world_size
        return _loader(ValidationStream(self.task, self.seed, self.validation_sequences, *share))


def _loader(stream: IterableDataset[Batch]) -> DataLoader[Batch]:
    """Hands the stream's batches on; with a generator of its own, or each pass would draw from dropout's."""
    return DataLoader(stream, batch_size=None, generator=torch.Generator())
