"""A task as endless, seeded, resumable batches, one stream per split.

Global batch *i* of a split is a function of (version, seed, split, lag, i) alone; rank r of n takes its rows r::n. So
all models see the same data, the number of devices changes nothing, and a resumed run continues where it stopped.

The version is a setting of the run, `stream`:

1. The key of a batch leaves the lag out: the same labels recur at every lag, and points along a curve at chance are one
   measurement repeated. Records of before there was a setting are of this version, and resume with it.
2. The lag is part of the key. Where the lag of a training batch is drawn itself, that draw has a key without it.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, IterableDataset

from longlag.lag_modes import Fixed
from longlag.tasks.task import Batch, Task

SPLITS = {"train": 0, "val": 1, "test": 2, "example": 3, "lag": 4}
NEWEST = 2  # version of the streams
EVALUATION_BATCH = 128  # sequences at once where no gradient is kept


class Seeds(NamedTuple):
    """Where all random numbers of a run's data come from.

    Attributes:
        seed: of the run.
        version: of the streams, 1 or 2.
    """

    seed: int
    version: int = NEWEST

    def generator(self, split: str, lag: int, index: int) -> np.random.Generator:
        """The random numbers of global batch `index` (128 bits of state; `torch.manual_seed` would keep 32)."""
        if self.version == 1:
            return np.random.default_rng(np.random.SeedSequence([self.seed, SPLITS[split], index]))
        key = [self.version, self.seed, SPLITS[split], lag, index]
        return np.random.default_rng(np.random.SeedSequence(key))


def fixed_batches(task: Task, split: str, seeds: Seeds, sequences: int) -> Iterator[Batch]:
    """The first `sequences` sequences of a split, the same at every call; of fewer, the first ones."""
    for index, start in enumerate(range(0, sequences, EVALUATION_BATCH)):
        whole = task.part(split).batch(EVALUATION_BATCH, seeds.generator(split, task.stream_lag, index))
        yield Batch(*(part[: sequences - start] for part in whole))


class TrainStream(IterableDataset[Batch]):
    """Batches `start`, `start` + 1, … of the training stream, without end; `lags` says at which lag each is made."""

    def __init__(self, lags: Fixed, seeds: Seeds, batch_size: int, start: int = 0, rank: int = 0, ranks: int = 1):
        self.lags, self.seeds, self.batch_size = lags, seeds, batch_size
        self.start, self.rank, self.ranks = start, rank, ranks

    def __iter__(self) -> Iterator[Batch]:
        index = self.start
        while True:
            yield self._batch(index).rows(self.rank, self.ranks)
            index += 1

    def _batch(self, index: int) -> Batch:
        """Global batch `index`; its lag is drawn first, where it is drawn."""
        rng = (
            self.seeds.generator("lag", 0, index) if self.seeds.version > 1 else self.seeds.generator("train", 0, index)
        )
        task = self.lags.task_of(index, rng)
        if self.seeds.version > 1:
            rng = self.seeds.generator("train", task.stream_lag, index)
        return task.batch(self.batch_size, rng)


class ValidationStream(IterableDataset[Batch]):
    """The same `sequences` validation sequences every time."""

    def __init__(self, task: Task, seeds: Seeds, sequences: int, rank: int = 0, ranks: int = 1):
        self.task, self.seeds, self.sequences = task, seeds, sequences
        self.rank, self.ranks = rank, ranks

    def __iter__(self) -> Iterator[Batch]:
        for batch in fixed_batches(self.task, "val", self.seeds, self.sequences):
            share = batch.rows(self.rank, self.ranks)
            if len(share.inputs):
                yield share


class Streams(pl.LightningDataModule):
    """The training and validation streams of one run, as Lightning asks for them.

    Args:
        task: makes the batches.
        lags: the lags of the training batches.
        seeds: of the run.
        batch_size: sequences in a global batch, shared among the devices.
        validation_sequences: how many fixed sequences a validation scores.
    """

    def __init__(self, task: Task, lags: Fixed, seeds: Seeds, batch_size: int, validation_sequences: int):
        super().__init__()
        self.task, self.lags, self.seeds, self.batch_size = task, lags, seeds, batch_size
        self.validation_sequences = validation_sequences

    def train_dataloader(self) -> DataLoader[Batch]:
        """From the trainer's current step on: a resumed run repeats nothing."""
        trainer = self.trainer
        share = trainer.global_rank, trainer.world_size
        return _loader(TrainStream(self.lags, self.seeds, self.batch_size, trainer.global_step, *share))

    def val_dataloader(self) -> DataLoader[Batch]:
        """The fixed validation sequences."""
        share = self.trainer.global_rank, self.trainer.world_size
        return _loader(ValidationStream(self.task, self.seeds, self.validation_sequences, *share))


def _loader(stream: IterableDataset[Batch]) -> DataLoader[Batch]:
    """Hands the stream's batches on; with a generator of its own, or each pass would draw from dropout's."""
    return DataLoader(stream, batch_size=None, generator=torch.Generator())
