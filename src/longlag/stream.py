"""The data of a run: endless, seeded, resumable streams of batches, one stream per split.

Global batch *i* of a split is a function of (version, seed, split, lag, i) alone; rank r of n takes its rows r::n. So
all models see the same data, the number of devices changes nothing, and a resumed run continues where it stopped.

The version is a setting of the run, `stream`:

1. The random key of a batch does not contain the lag. The same labels then recur at every lag, so the points of a lag
   curve at chance are not independent. Records that are older than the setting have this version, and resume with it.
2. The key contains the lag. If the lag of a training batch is itself random, it is drawn with a key that does not.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, IterableDataset

from longlag.lag_modes import LagMode
from longlag.tasks.task import Batch, Task

SPLITS = {"train": 0, "val": 1, "test": 2, "example": 3, "lag": 4}
NEWEST = 2  # newest version of the streams
KEPT = 2**26  # the most bytes of validation sequences that are kept
EVALUATION_BATCH = 128  # sequences per batch in validations and tests, which keep no activations for a gradient


class Seeds(NamedTuple):
    """The source of all random numbers of a run's data.

    Attributes:
        seed: the seed of the run.
        version: the version of the streams, 1 or 2.
    """

    seed: int
    version: int = NEWEST

    def generator(self, split: str, lag: int, index: int) -> np.random.Generator:
        """The random generator of global batch `index`. (PCG64 has 128 bits of state; torch's CPU seed uses 32.)"""
        if self.version == 1:
            return np.random.default_rng(np.random.SeedSequence([self.seed, SPLITS[split], index]))
        key = [self.version, self.seed, SPLITS[split], lag, index]
        return np.random.default_rng(np.random.SeedSequence(key))


def fixed_batches(task: Task, split: str, seeds: Seeds, sequences: int) -> Iterator[Batch]:
    """The first `sequences` sequences of a split, in batches. The sequences are the same at every call."""
    # Each batch is made whole and then cut, so that a smaller number of sequences gives the first ones of a larger.
    for index, start in enumerate(range(0, sequences, EVALUATION_BATCH)):
        whole = task.part(split).batch(EVALUATION_BATCH, seeds.generator(split, task.stream_lag, index))
        yield Batch(*(part[: sequences - start] for part in whole))


class TrainStream(IterableDataset[Batch]):
    """Endless training batches `start`, `start` + 1, …; the lag mode `lags` chooses the lag of each batch.

    The iterator yields rows `rank`, `rank + ranks`, … of each global batch.
    """

    def __init__(self, lags: LagMode, seeds: Seeds, batch_size: int, start: int = 0, rank: int = 0, ranks: int = 1):
        self.lags, self.seeds, self.batch_size = lags, seeds, batch_size
        self.start, self.rank, self.ranks = start, rank, ranks

    def __iter__(self) -> Iterator[Batch]:
        index = self.start
        while True:
            yield self._batch(index).rows(self.rank, self.ranks)
            index += 1

    def _batch(self, index: int) -> Batch:
        """Global batch `index`. If its lag is random, it is drawn first (in version 1 from the same generator)."""
        rng = (
            self.seeds.generator("lag", 0, index) if self.seeds.version > 1 else self.seeds.generator("train", 0, index)
        )
        task = self.lags.task_of(index, rng)
        if self.seeds.version > 1:
            rng = self.seeds.generator("train", task.stream_lag, index)
        return task.batch(self.batch_size, rng)


class ValidationStream(IterableDataset[Batch]):
    """This rank's share of `sequences` validation sequences, which are the same at every pass.

    They are made once and kept, unless they take more than KEPT bytes.
    """

    def __init__(self, task: Task, seeds: Seeds, sequences: int, rank: int = 0, ranks: int = 1):
        self.task, self.seeds, self.sequences = task, seeds, sequences
        self.rank, self.ranks = rank, ranks
        self._kept: list[Batch] = []

    def __iter__(self) -> Iterator[Batch]:
        if 8 * self.sequences * self.task.length * (self.task.features or 1) > KEPT:  # 8 bytes a number, at most
            return self._made()
        self._kept = self._kept or list(self._made())
        return iter(self._kept)

    def _made(self) -> Iterator[Batch]:
        for batch in fixed_batches(self.task, "val", self.seeds, self.sequences):
            share = batch.rows(self.rank, self.ranks)
            if len(share.inputs):  # the last batch may have fewer rows than there are ranks
                yield share


class Streams(pl.LightningDataModule):
    """The training and validation streams of one run, as a LightningDataModule.

    Args:
        task: the task that makes the batches.
        lags: the lag mode, which chooses the lags of the training batches.
        seeds: the seeds of the run.
        batch_size: sequences in a global batch, shared among the devices.
        validation_sequences: number of sequences in a validation, the same ones each time.
    """

    def __init__(self, task: Task, lags: LagMode, seeds: Seeds, batch_size: int, validation_sequences: int):
        super().__init__()
        self.task, self.lags, self.seeds, self.batch_size = task, lags, seeds, batch_size
        self.validation_sequences = validation_sequences

    def train_dataloader(self) -> DataLoader[Batch]:
        """The training stream from the trainer's current step on, so that a resumed run repeats no batch."""
        trainer = self.trainer
        share = trainer.global_rank, trainer.world_size
        return _loader(TrainStream(self.lags, self.seeds, self.batch_size, trainer.global_step, *share))

    def val_dataloader(self) -> DataLoader[Batch]:
        """The fixed validation sequences."""
        share = self.trainer.global_rank, self.trainer.world_size
        return _loader(ValidationStream(self.task, self.seeds, self.validation_sequences, *share))

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """The batch on the device. Lightning's own method searches any nested structure for tensors, at every step."""
        return batch.to(device)


def _loader(stream: IterableDataset[Batch]) -> DataLoader[Batch]:
    """Wrap a stream of ready-made batches for Lightning.

    The DataLoader gets its own generator; otherwise each pass would draw from torch's global one, which dropout uses.
    """
    return DataLoader(stream, batch_size=None, generator=torch.Generator())
