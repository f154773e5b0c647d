"""What a run keeps of its network: the weights of the best validation, and all it takes to go on after a stop."""

import csv
import logging
import math
import time
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger

from longlag import ranks, records
from longlag.network import Network

log = logging.getLogger(__name__)

WEIGHTS = records.WEIGHTS
LAST, ONE_BEFORE = "last.ckpt", "last_but_one.ckpt"
NEEDED = {
    "state_dict",
    "global_step",
    "optimizer_states",
    "lr_schedulers",
    "loops",
    "callbacks",
    "lags",
    "recent",
    "metrics",
}


class Checkpoints(pl.Callback):
    """Writes `model.ckpt` at every validation that is the best so far, and every so often `last.ckpt` to go on from.

    A run that goes on from it ends bit for bit like one that was never stopped: with the optimiser and the loops go the
    random states (dropout draws from them), the metrics so far, and what the other callbacks have seen. All of it is
    plain values and tensors.

    Args:
        folder: of the run.
        seconds: between checkpoints; they are taken at validations.

    Attributes:
        best_loss: the lowest validation loss so far. (Accuracies tie, losses do not.)
    """

    def __init__(self, folder: Path, seconds: float):
        self.folder, self.seconds = folder, seconds
        self.best_loss = math.inf
        self._saved = time.monotonic()
        self._random_states: list[dict[str, Any]] = []  # of each rank

    def on_train_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Draw on from where the checkpoint was taken."""
        if self._random_states:
            state = ranks.own(self._random_states, trainer.global_rank)
            torch.set_rng_state(state["cpu"])
            if state["cuda"] is not None and torch.cuda.is_available():
                torch.cuda.set_rng_state(state["cuda"])

    def on_validation_end(self, trainer: pl.Trainer, learner: pl.LightningModule) -> None:
        """Keep the weights if they are the best, and everything if it is time; a run that ends now needs no more."""
        loss = float(trainer.callback_metrics["val/loss"])
        if loss < self.best_loss:
            self.best_loss = loss
            if trainer.is_global_zero:
                _save_weights(learner.network, trainer.global_step, self.folder / WEIGHTS)
        due = time.monotonic() - self._saved >= self.seconds
        if trainer.strategy.broadcast(due) and not trainer.should_stop:
            self._save(trainer)
            self._saved = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """Plain values and tensors."""
        cuda = torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None
        states = ranks.gathered({"cpu": torch.get_rng_state(), "cuda": cuda})
        return {"best_loss": self.best_loss, "random_states": states}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.best_loss, self._random_states = state["best_loss"], state["random_states"]

    def on_save_checkpoint(self, trainer: pl.Trainer, _: Any, checkpoint: dict[str, Any]) -> None:
        """The metrics so far: what is logged after the checkpoint will be logged again."""
        checkpoint["metrics"] = [row for logger in _files(trainer) for row in _rows(logger)]

    def on_load_checkpoint(self, trainer: pl.Trainer, _: Any, checkpoint: dict[str, Any]) -> None:
        """Put the metrics back."""
        for logger in _files(trainer):
            logger.experiment.metrics = list(checkpoint["metrics"])
            logger.save()

    def _save(self, trainer: pl.Trainer) -> None:
        """`last.ckpt`, atomically; the one before is kept, should this one turn out to be broken."""
        last = self.folder / LAST
        if not trainer.is_global_zero:
            trainer.save_checkpoint(last)  # all processes of a ddp run take part; the first one writes
            return
        with records.replacing(last) as temporary:
            trainer.save_checkpoint(temporary)
            if last.exists():
                last.replace(self.folder / ONE_BEFORE)


def to_go_on_from(folder: Path) -> Path | None:
    """The newest checkpoint in the folder that can be read; None where there is none."""
    for path in (folder / LAST, folder / ONE_BEFORE):
        if path.exists():
            try:
                _check(_read(path))
                return path
            except Exception as error:  # a broken file raises whatever its first broken byte leads to
                log.warning("%s cannot be read (%s)", path, records.first_line(error))
    return None


def _check(saved: Any) -> None:
    """Raise ValueError where what was saved is nothing that a run could go on from."""
    if not isinstance(saved, dict) or not saved.keys() >= NEEDED:
        raise ValueError("it is not a checkpoint of a run")


def forget(folder: Path) -> None:
    """Remove what a finished run need not go on from."""
    for name in (LAST, ONE_BEFORE):
        (folder / name).unlink(missing_ok=True)


def load_weights(network: Network, folder: Path) -> int:
    """Put the weights of the best validation into the network; the step of the training they are of."""
    path = folder / WEIGHTS
    if not path.is_file():
        raise FileNotFoundError(f"{folder} has no {WEIGHTS}: the run ended before its first validation")
    try:
        saved = _read(path)
        network.load_state_dict(saved["state_dict"])
        return int(saved["global_step"])
    except Exception as error:  # a broken file raises whatever its first broken byte leads to
        raise ValueError(f"{path} does not hold the weights of this run: {records.first_line(error)}") from error


def _read(path: Path) -> Any:
    """What a checkpoint holds: plain values and tensors, whoever wrote it (`weights_only` is safe from torch 2.10 on).

    Raises ValueError where it is no file, none that torch writes today, or would unpack to more than its own size.
    """
    if not path.is_file():
        raise ValueError("it is no file")
    with zipfile.ZipFile(path) as archive:
        if sum(part.file_size for part in archive.infolist()) > path.stat().st_size:
            raise ValueError("it is compressed, and torch compresses nothing")
    return torch.load(path, map_location="cpu", weights_only=True)


def _save_weights(network: Network, step: int, path: Path) -> None:
    content = BytesIO()  # torch's own writer would hide why a file cannot be written
    torch.save({"state_dict": network.state_dict(), "global_step": step}, content)
    with records.replacing(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def _files(trainer: pl.Trainer) -> list[CSVLogger]:
    """Of a ddp run the first process alone writes them."""
    loggers = trainer.loggers if trainer.is_global_zero else []
    return [logger for logger in loggers if isinstance(logger, CSVLogger)]


def _rows(logger: CSVLogger) -> list[dict[str, str]]:
    """What the logger has written, an empty field being nothing."""
    logger.save()
    path = Path(logger.experiment.metrics_file_path)
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [{name: value for name, value in row.items() if value} for row in csv.DictReader(file)]
