"""A learner in training, and what it logs."""

import pytorch_lightning as pl
from pytorch_lightning.loggers.logger import DummyLogger

from longlag.stream import Seeds, Streams
from longlag.training.learner import Learner
from longlag.training.trainer import quietly

BATCH, SEED, RATE = 4, 0, 0.5


class Logged(DummyLogger):
    """Keeps what is logged, by step."""

    def __init__(self) -> None:
        super().__init__()
        self.at: dict[int, dict[str, float]] = {}

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.at.setdefault(int(step), {}).update(metrics)


def fit(learner: Learner, steps: int, **trainer: object) -> dict[int, dict[str, float]]:
    """Train; returns what was logged, by step."""
    logged = Logged()
    silent = dict.fromkeys(("enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False)
    settings = {"accelerator": "cpu", "max_steps": steps, "limit_val_batches": 0, "log_every_n_steps": 1}
    with quietly():
        pl.Trainer(logger=logged, **silent, **(settings | trainer)).fit(
            learner, Streams(learner.task, learner.lags, Seeds(SEED), BATCH, 8)
        )
    return logged.at
