"""The checkpoints of a run: the weights of the best validation, and the whole state that a resumed run needs."""

import csv
import logging
import math
import pickle
import time
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger

from longlag import records
from longlag.files import first_line, replacing, shown
from longlag.models.network import Network
from longlag.settings import program
from longlag.training import budget, processes
from longlag.training.stop import Request

log = logging.getLogger(__name__)

WEIGHTS = records.WEIGHTS
LAST, ONE_BEFORE = "last.ckpt", "last_but_one.ckpt"
NEEDED = {  # keys of a checkpoint that a resumed run reads
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
    """Writes `model.ckpt` at every validation that is the best so far, and `last.ckpt` to resume from.

    `last.ckpt` is written at regular intervals, at the end of the training (before the test), and at a request to stop:
    Ctrl-C or SIGTERM ends the training after the current step, with a checkpoint of that step.

    A run resumed from `last.ckpt` ends bit for bit like one that was never stopped. The checkpoint therefore also holds
    the random states (dropout draws from them), the metrics logged so far, and the states of the other callbacks. It
    contains plain values and tensors only, so it loads without unpickling arbitrary objects.

    Args:
        folder: the folder of the run.
        seconds: wall seconds between two checkpoints; a checkpoint that is due is taken at the next validation.

    Attributes:
        best_loss: the lowest validation loss so far. The loss decides because accuracies are often equal.
    """

    def __init__(self, folder: Path, seconds: float):
        self.folder, self.seconds = folder, seconds
        self.best_loss = math.inf
        self._stop = Request()
        self._saved = time.monotonic()
        self._saved_step = self._validated_step = 0
        self._random_states: list[dict[str, Any]] = []  # one per rank

    def on_train_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Restore the random states of the checkpoint, and listen for requests to stop."""
        self._stop.listen()  # not earlier: Lightning installs its own signal handlers just before this hook
        if self._random_states:
            state = processes.own(self._random_states, trainer.global_rank)
            torch.set_rng_state(state["cpu"])
            if state["cuda"] is not None and torch.cuda.is_available():
                torch.cuda.set_rng_state(state["cuda"])

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Stop here, between two steps, if a stop was requested; directly after a validation, stop one step later.

        Lightning can only resume from a checkpoint of a validated step if it was taken within the validation.
        """
        here = trainer.global_step
        validated = here == self._validated_step != self._saved_step
        if self._any(trainer, self._stop.asked) and not validated:
            if here != self._saved_step:
                self._save(trainer)
            raise KeyboardInterrupt

    def on_validation_end(self, trainer: pl.Trainer, learner: pl.LightningModule) -> None:
        """Save the weights if they are the best so far; save `last.ckpt` if it is due, or if the training ends here."""
        loss = float(trainer.callback_metrics["val/loss"])
        if loss < self.best_loss:
            self.best_loss = loss
            if trainer.is_global_zero:
                _save_weights(learner.network, trainer.global_step, self.folder / WEIGHTS)
        self._validated_step = trainer.global_step
        stop = self._any(trainer, self._stop.asked)
        due = self._any(trainer, time.monotonic() - self._saved >= self.seconds)
        if stop or due or trainer.should_stop:
            self._save(trainer)
        if stop:
            raise KeyboardInterrupt

    def on_train_end(self, *_: Any) -> None:
        """Restore the signal handlers: from here on, Ctrl-C interrupts the run at once."""
        self._stop.leave()

    def on_exception(self, *_: Any) -> None:
        """Restore the signal handlers here too."""
        self._stop.leave()

    def state_dict(self) -> dict[str, Any]:
        """The lowest loss and the random states of all ranks, as plain values and tensors."""
        cuda = torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None
        states = processes.gathered({"cpu": torch.get_rng_state(), "cuda": cuda})
        return {"best_loss": self.best_loss, "random_states": states}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the lowest loss; the random states are set when the training starts."""
        self.best_loss, self._random_states = state["best_loss"], state["random_states"]

    def on_save_checkpoint(self, trainer: pl.Trainer, _: Any, checkpoint: dict[str, Any]) -> None:
        """Add the metrics logged so far. A resumed run logs again what was logged after the checkpoint."""
        checkpoint["metrics"] = [row for logger in _files(trainer) for row in _rows(logger)]
        batches = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        for count in (batches["total"], batches["current"]):
            count["ready"] = count["completed"]  # a batch that was fetched but not trained on will be made again

    def on_load_checkpoint(self, trainer: pl.Trainer, _: Any, checkpoint: dict[str, Any]) -> None:
        """Restore the logged metrics."""
        self._saved_step = checkpoint["global_step"]
        for logger in _files(trainer):
            logger.experiment.metrics = list(checkpoint["metrics"])
            logger.save()

    def _any(self, trainer: pl.Trainer, here: bool) -> bool:
        """Whether `here` is true in any process of the run; all processes must take the same decision."""
        return here if trainer.world_size == 1 else bool(trainer.strategy.reduce_boolean_decision(here, all=False))

    def _save(self, trainer: pl.Trainer) -> None:
        """Write `last.ckpt` atomically. The previous one is kept as a fallback, in case this one cannot be read."""
        self._saved, self._saved_step = time.monotonic(), trainer.global_step
        last = self.folder / LAST
        if not trainer.is_global_zero:
            trainer.save_checkpoint(last)  # all processes of a ddp run take part; the first one writes
            return
        with replacing(last) as temporary:
            trainer.save_checkpoint(temporary)
            if last.exists():
                last.replace(self.folder / ONE_BEFORE)


def to_go_on_from(folder: Path) -> Path | None:
    """The newest checkpoint in the folder that can be read, else None."""
    for path in (folder / LAST, folder / ONE_BEFORE):
        if path.exists():
            try:
                _check(_read(path))
                return path
            except Exception as error:  # a broken file raises whatever its first broken byte leads to
                log.warning("%s cannot be read (%s)", path, _why(error))
    return None


def _check(saved: Any) -> None:
    """Raise ValueError if the content of a checkpoint is not enough to resume a run."""
    if not isinstance(saved, dict) or not saved.keys() >= NEEDED:
        raise ValueError("it is not a checkpoint of a run")


def saved_step(folder: Path) -> int:
    """The step from which the run in this folder would resume; 0 if there is no checkpoint."""
    path = to_go_on_from(folder)
    return 0 if path is None else int(_read(path)["global_step"])


def stopped(folder: Path, record: records.Record) -> str:
    """One line for the user: at which step a run was stopped, and the command that resumes it."""
    steps = budget.steps(records.config_of(record))
    done, saved = record["cost"].get("steps"), saved_step(folder)
    where = "stopped" if done is None else f"stopped at step {done} of {steps}"
    since = {done: "", 0: ", from step 0: there is no checkpoint"}.get(saved, f", from the checkpoint of step {saved}")
    return f"{where}; go on with: {program()} resume={shown(folder.absolute())}{since}"


def forget(folder: Path) -> None:
    """Remove the checkpoints to resume from, which a finished run no longer needs."""
    for name in (LAST, ONE_BEFORE):
        (folder / name).unlink(missing_ok=True)


def load_weights(network: Network, folder: Path) -> int:
    """Load the weights of the best validation into the network, and return the training step they were saved at.

    Raises:
        FileNotFoundError: if the run ended before its first validation.
        ValueError: if the file is broken, or its weights do not fit this network.
    """
    path = folder / WEIGHTS
    if not path.is_file():
        raise FileNotFoundError(f"{folder} has no {WEIGHTS}: the run ended before its first validation")
    try:
        saved = _read(path)
        network.load_state_dict(saved["state_dict"])
        return int(saved["global_step"])
    except Exception as error:  # a broken file raises whatever its first broken byte leads to
        raise ValueError(f"{path} does not hold the weights of this run: {_why(error)}") from error


def _why(error: Exception) -> str:
    """The first line of an error; for a refusal to unpickle our own words, since torch advises to allow the class."""
    refused = isinstance(error, pickle.UnpicklingError)
    return "it is not a checkpoint of this program" if refused else first_line(error)


def _read(path: Path) -> Any:
    """The content of a checkpoint, which may come from anybody: `weights_only` loads plain values and tensors only.

    (`weights_only` is safe from torch 2.10 on.) Raises ValueError if the path is not a file, or if the archive would
    unpack to more bytes than the file has; zipfile raises BadZipFile for any other format.
    """
    if not path.is_file():
        raise ValueError("it is not a regular file")
    with zipfile.ZipFile(path) as archive:
        if sum(part.file_size for part in archive.infolist()) > path.stat().st_size:
            raise ValueError("it is compressed, but torch writes no compressed files")
    return torch.load(path, map_location="cpu", weights_only=True)


def _save_weights(network: Network, step: int, path: Path) -> None:
    content = BytesIO()  # torch's own writer would hide why a file cannot be written
    torch.save({"state_dict": network.state_dict(), "global_step": step}, content)
    with replacing(path) as temporary:
        temporary.write_bytes(content.getvalue())  # a view, left in a traceback, can crash the garbage collector


def _files(trainer: pl.Trainer) -> list[CSVLogger]:
    """The CSV loggers of this process; in a ddp run only the first process writes metrics."""
    loggers = trainer.loggers if trainer.is_global_zero else []
    return [logger for logger in loggers if isinstance(logger, CSVLogger)]


def _rows(logger: CSVLogger) -> list[dict[str, str]]:
    """The rows that the logger has written to its file, without their empty fields."""
    logger.save()
    path = Path(logger.experiment.metrics_file_path)
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [{name: value for name, value in row.items() if value} for row in csv.DictReader(file)]
