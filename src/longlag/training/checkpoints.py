"""What a run keeps of its network: the weights of the best validation, and all it takes to go on after a stop."""

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
from longlag.training import budget, processes
from longlag.training.stop import Request

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
    """Writes `model.ckpt` at every validation that is the best so far, and `last.ckpt` to go on from.

    The latter every so often, when the training ends (the test is still to come), and where the run is told to stop:
    Ctrl-C or SIGTERM ends the training after the step at hand, with a checkpoint of that step.

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
        self._stop = Request()
        self._saved = time.monotonic()
        self._saved_step = self._validated_step = 0
        self._random_states: list[dict[str, Any]] = []  # of each rank

    def on_train_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Draw on from where the checkpoint was taken; from now on, stop where that is asked for."""
        self._stop.listen()  # now, because Lightning has put its own handlers there just before
        if self._random_states:
            state = processes.own(self._random_states, trainer.global_rank)
            torch.set_rng_state(state["cpu"])
            if state["cuda"] is not None and torch.cuda.is_available():
                torch.cuda.set_rng_state(state["cuda"])

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Stop here, between two steps, if that was asked for; right after a validation, one step later.

        A checkpoint of a step that is validated has to be taken within the validation: Lightning counts on that.
        """
        here = trainer.global_step
        validated = here == self._validated_step != self._saved_step
        if self._any(trainer, self._stop.asked) and not validated:
            if here != self._saved_step:
                self._save(trainer)
            raise KeyboardInterrupt

    def on_validation_end(self, trainer: pl.Trainer, learner: pl.LightningModule) -> None:
        """Keep the weights if they are the best, and everything if it is time."""
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
        """The test is not stopped between steps, but at once."""
        self._stop.leave()

    def on_exception(self, *_: Any) -> None:
        """Nor is what follows now."""
        self._stop.leave()

    def state_dict(self) -> dict[str, Any]:
        """Plain values and tensors."""
        cuda = torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None
        states = processes.gathered({"cpu": torch.get_rng_state(), "cuda": cuda})
        return {"best_loss": self.best_loss, "random_states": states}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.best_loss, self._random_states = state["best_loss"], state["random_states"]

    def on_save_checkpoint(self, trainer: pl.Trainer, _: Any, checkpoint: dict[str, Any]) -> None:
        """The metrics so far: what is logged after the checkpoint will be logged again."""
        checkpoint["metrics"] = [row for logger in _files(trainer) for row in _rows(logger)]
        batches = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        for count in (batches["total"], batches["current"]):
            count["ready"] = count["completed"]  # a batch that is ready, but not trained on, will be made again

    def on_load_checkpoint(self, trainer: pl.Trainer, _: Any, checkpoint: dict[str, Any]) -> None:
        """Put the metrics back."""
        self._saved_step = checkpoint["global_step"]
        for logger in _files(trainer):
            logger.experiment.metrics = list(checkpoint["metrics"])
            logger.save()

    def _any(self, trainer: pl.Trainer, here: bool) -> bool:
        """Whether it is so in any process of the run; they do all this together."""
        return here if trainer.world_size == 1 else bool(trainer.strategy.reduce_boolean_decision(here, all=False))

    def _save(self, trainer: pl.Trainer) -> None:
        """`last.ckpt`, atomically; the one before is kept, should this one turn out to be broken."""
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
    """The newest checkpoint in the folder that can be read; None where there is none."""
    for path in (folder / LAST, folder / ONE_BEFORE):
        if path.exists():
            try:
                _check(_read(path))
                return path
            except Exception as error:  # a broken file raises whatever its first broken byte leads to
                log.warning("%s cannot be read (%s)", path, _why(error))
    return None


def _check(saved: Any) -> None:
    """Raise ValueError where what was saved is nothing that a run could go on from."""
    if not isinstance(saved, dict) or not saved.keys() >= NEEDED:
        raise ValueError("it is not a checkpoint of a run")


def saved_step(folder: Path) -> int:
    """The step that a run in this folder would go on from; 0 where there is no checkpoint."""
    path = to_go_on_from(folder)
    return 0 if path is None else int(_read(path)["global_step"])


def stopped(folder: Path, record: records.Record) -> str:
    """Where a run was stopped and how it goes on, in one line."""
    steps = budget.steps(records.config_of(record))
    done, saved = record["cost"].get("steps"), saved_step(folder)
    where = "stopped" if done is None else f"stopped at step {done} of {steps}"
    since = {done: "", 0: ", from step 0: there is no checkpoint"}.get(saved, f", from the checkpoint of step {saved}")
    return f"{where}; go on with: python train.py resume={shown(folder.absolute())}{since}"


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
        raise ValueError(f"{path} does not hold the weights of this run: {_why(error)}") from error


def _why(error: Exception) -> str:
    """What torch says, but where it refuses to unpickle something and advises to allow it."""
    refused = isinstance(error, pickle.UnpicklingError)
    return "it is not a checkpoint of this program" if refused else first_line(error)


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
    with replacing(path) as temporary:
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
