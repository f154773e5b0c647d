"""Callbacks that observe a run: when to end it, the gradient over distance, the progress display."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn

from longlag.measure.gradients import Profile, scheduled
from longlag.records.schema import LagPoint
from longlag.tasks.task import Batch
from longlag.training.budget import Budget

log = logging.getLogger(__name__)

CONSOLE = Console(stderr=True)  # standard output is for results


class Watch(pl.Callback):
    """Ends the run when it is solved or has used up its budget, and measures its times.

    A run is solved when the validation accuracy is at least `solved_at` at two consecutive validations.
    The last step is always validated.

    Attributes:
        solved: whether the run is solved.
        ended_by: what ended the training: `solved`, `steps`, `seconds` or `no progress`; None before the end.
        steps_to_solve, seconds_to_solve: optimiser steps and wall seconds at the first of the two validations. After a
            single good validation they hold its values; the next validation confirms or clears them.
        seconds: wall seconds of training, validations included.
        computing_seconds: seconds that count against `budget.seconds`. On a CPU this is the CPU time of the training
            thread, so that other work on the machine does not count; on other devices it is wall time.
        validation_seconds: the part of `seconds` that validations took.
        tokens: time steps of all training sequences so far, over all devices.
        curve: `{step, accuracy, loss}` at each validation.
    """

    KEPT: ClassVar = (
        *("curve", "steps_to_solve", "seconds_to_solve", "tokens", "solved", "ended_by"),
        *("seconds", "computing_seconds", "validation_seconds"),
    )

    def __init__(self, solved_at: float | None, budget: Budget | None = None):
        self.solved_at, self.budget = solved_at, budget or Budget()
        self.solved = False
        self.ended_by: str | None = None
        self.steps_to_solve: int | None = None
        self.seconds_to_solve: float | None = None
        self.seconds = self.computing_seconds = self.validation_seconds = 0.0
        self.tokens = 0
        self.curve: list[dict[str, float]] = []
        self._started = self._validating = 0.0
        self._computed = Computing(None)

    def on_fit_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Skip the training if it had already ended before the checkpoint, as when the run was stopped in its test."""
        trainer.should_stop = self.ended_by is not None

    def on_train_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Start the clocks; in a resumed run they continue from the stored times."""
        self._started = time.monotonic() - self.seconds
        self._computed = Computing(trainer.strategy.root_device.type, self.computing_seconds)

    def on_train_batch_end(self, trainer: pl.Trainer, _: Any, __: Any, batch: Batch, ___: int) -> None:
        """Update the counts and times, and end the training when the steps or the seconds are used up."""
        self.tokens += batch.inputs.shape[0] * batch.inputs.shape[1] * trainer.world_size
        self.seconds = time.monotonic() - self._started
        self.computing_seconds = self._computed.so_far
        if trainer.global_step >= trainer.max_steps:
            self._end(trainer, "steps")
        elif self._on_any(trainer, self.budget.out_of_time(self.computing_seconds)):
            self._end(trainer, "seconds")

    def _on_any(self, trainer: pl.Trainer, over: bool) -> bool:
        """Whether `over` is true on any device: their clocks differ, but all of them must stop at the same step."""
        if self.budget.seconds is None or trainer.world_size == 1:
            return over
        return bool(trainer.strategy.reduce_boolean_decision(over, all=False))

    def _end(self, trainer: pl.Trainer, why: str) -> None:
        """Ask Lightning to stop. After a training step it validates first, so the last step is always validated."""
        trainer.should_stop = True
        self.ended_by = why

    def on_validation_start(self, *_: Any) -> None:
        """Start the validation clock."""
        self._validating = time.monotonic()

    def on_validation_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Add a point to the learning curve; end the run if it made no progress or is solved."""
        now = time.monotonic()
        self.validation_seconds += now - self._validating
        self.seconds, self.computing_seconds = now - self._started, self._computed.so_far
        accuracy, loss = (float(trainer.callback_metrics[f"val/{name}"]) for name in ("accuracy", "loss"))
        self.curve.append({"step": trainer.global_step, "accuracy": accuracy, "loss": loss})
        best_loss = min(point["loss"] for point in self.curve)
        no_progress = self.budget.no_progress(
            trainer.global_step / trainer.max_steps, self.computing_seconds, best_loss
        )
        if self.ended_by is None and self._on_any(trainer, no_progress):
            self._end(trainer, "no progress")
        if self.solved_at is None:
            return
        good = bool(trainer.callback_metrics["val/accuracy"] >= self.solved_at)
        if good and self.steps_to_solve is not None:
            self.solved = True
            self._end(trainer, "solved")
        elif good:
            self.steps_to_solve, self.seconds_to_solve = trainer.global_step, self.seconds
        else:
            self.steps_to_solve = self.seconds_to_solve = None

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run goes on with."""
        return {name: getattr(self, name) for name in self.KEPT}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        for name in self.KEPT:
            setattr(self, name, state.get(name, getattr(self, name)))  # checkpoints of older versions lack some names


class Computing:
    """A stopwatch: CPU time of this thread if the device is a CPU, else wall time."""

    def __init__(self, device: str | None, so_far: float = 0.0):
        self._clock = time.thread_time if device == "cpu" else time.monotonic
        self._started = self._clock() - so_far

    @property
    def so_far(self) -> float:
        """Seconds so far, those before a resume included."""
        return self._clock() - self._started


class ProbeGradients(pl.Callback):
    """Measures the gradient over distance during training, at steps 1, 3, 10, 30, …

    The probe changes neither the network nor any random state: the run ends with the same weights without it.

    Args:
        measure: returns the profile at a step. None if the core does not run in float64; then nothing is measured.

    Attributes:
        profiles: the profiles measured so far, in the order of their steps.
        seconds: wall seconds that the measurements took during training.
    """

    def __init__(self, measure: Callable[[int], Profile] | None):
        self.measure = measure
        self.profiles: list[Profile] = []
        self.seconds = 0.0

    def at(self, step: int) -> None:
        """Measure now. A second measurement at the same step replaces the first."""
        if self.measure is None:
            return
        others = [profile for profile in self.profiles if profile.step != step]
        self.profiles = sorted([*others, self.measure(step)], key=lambda profile: profile.step)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Measure if this step is on the schedule."""
        if trainer.is_global_zero and scheduled(trainer.global_step):
            started = time.monotonic()
            self.at(trainer.global_step)
            self.seconds += time.monotonic() - started

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run goes on with."""
        return {"profiles": [profile._asdict() for profile in self.profiles], "seconds": self.seconds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.profiles = [Profile(**profile) for profile in state["profiles"]]
        self.seconds = state["seconds"]


class ShowProgress(pl.Callback):
    """Shows loss, accuracy and gradient norm while training: a bar in a terminal, else a line per validation."""

    SHOWN: ClassVar = {
        "loss": "train/loss",
        "acc": "train/accuracy",
        "|grad|": "train/gradient_norm",
        "val": "val/accuracy",
    }

    def __init__(self, title: str):
        self.title = title
        self.bar: Progress | None = None

    def on_train_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Open the bar, in a terminal only."""
        if not trainer.is_global_zero or not CONSOLE.is_terminal:
            return
        self.bar = _bar(TextColumn("{task.fields[figures]}"))
        self.bar.console.print(self.title, highlight=False)
        self.bar.add_task("train", total=trainer.max_steps, completed=trainer.global_step, figures="")
        self.bar.start()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Advance the bar whenever new metrics are logged."""
        if self.bar and trainer.global_step % trainer.log_every_n_steps == 0:
            self.bar.update(self.bar.task_ids[0], completed=trainer.global_step, figures=self._figures(trainer))

    def on_validation_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Log a line if there is no bar."""
        if self.bar is None and trainer.is_global_zero:
            log.info("%s  step %d/%d  %s", self.title, trainer.global_step, trainer.max_steps, self._figures(trainer))

    def on_train_end(self, *_: Any) -> None:
        """Close the bar."""
        if self.bar:
            self.bar.stop()
            self.bar = None

    def on_exception(self, *_: Any) -> None:
        """Close the bar."""
        self.on_train_end()

    def _figures(self, trainer: pl.Trainer) -> str:
        # The training lag is shown too, while it is below the lag of the task (lag_mode curriculum or uniform).
        values = trainer.callback_metrics
        figures = [f"{label} {values[key].item():.3g}" for label, key in self.SHOWN.items() if key in values]
        lag = values.get("train/lag")
        growing = lag is not None and lag < trainer.lightning_module.task.lag
        return "  ".join([f"at lag {lag:.0f}", *figures] if growing else figures)


@contextmanager
def showing_test(points: int) -> Iterator[Callable[[LagPoint], None]]:
    """Show the progress of the test over `points` lags: a bar in a terminal, else a line per lag.

    Yields a function to call with each point of the lag curve once it is measured.
    """
    if not CONSOLE.is_terminal:
        yield lambda point: log.info("test at lag %d: accuracy %.3f", point["lag"], point["accuracy"])
        return
    with _bar() as bar:
        test = bar.add_task("test ", total=points)
        yield lambda _: bar.advance(test)


def _bar(*more: ProgressColumn) -> Progress:
    columns = TextColumn("{task.description}"), BarColumn(bar_width=6), MofNCompleteColumn(), TimeRemainingColumn()
    return Progress(*columns, *more, console=CONSOLE, refresh_per_second=4)
