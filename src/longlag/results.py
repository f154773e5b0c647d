"""The parts of a run's record: the settings and data, the results of the training, and the files beside the record."""

import hashlib
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig

from longlag import records
from longlag.measure.cost import peak_memory_bytes
from longlag.measure.gradients import SEQUENCES
from longlag.records import Record
from longlag.records.curve import still_improving
from longlag.records.schema import Artifact
from longlag.resume import RunPlan
from longlag.settings import plain
from longlag.tasks.task import Task
from longlag.training import budget
from longlag.training.callbacks import ProbeGradients, Watch


def new_record(plan: RunPlan, task: Task) -> Record:
    """The record of a run that is about to start or to resume.

    Raises ValueError if a resumed run was started with other data than the task has now.
    """
    record = records.new(plain(plan.cfg), plan.model, plan.task)
    record["data"], record["command"] = task.provenance, plan.command
    record["sequences"]["gradient"] = SEQUENCES
    if plan.begun:
        check_data(plan.begun, task, plan.folder)
        record["started"] = plan.begun["started"]
    return record


def check_data(record: Record, task: Task, folder: Path) -> None:
    """Raise ValueError if a run was trained on other data than the task has now."""
    trained_on, found = record["data"].get("sha256"), task.provenance.get("sha256")
    if trained_on != found:
        raise ValueError(
            f"{folder}: the text corpus has changed since the training: its sha256 was {trained_on}, now it is {found}"
        )


def check_artifacts(record: Record, folder: Path) -> None:
    """Raise ValueError if the weights are not those that the run wrote. Records before schema 2 hold no checksum."""
    for one in record["artifacts"]:
        if one["file"] == records.WEIGHTS and one != artifact(folder / records.WEIGHTS):
            raise ValueError(f"{folder / records.WEIGHTS} is not the file that this run wrote: its sha256 differs")


def artifact(path: Path) -> Artifact:
    """The record's entry for a file: its name and SHA-256. Raises FileNotFoundError if there is no such file."""
    if not path.is_file():
        raise FileNotFoundError(f"{path.parent} has no {path.name}")
    return {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def outcome(watch: Watch, cfg: DictConfig) -> Any:
    """The results of the training for the record: learning curve, how it ended, and what it took to solve the task."""
    steps = watch.steps_to_solve if watch.solved else None
    return {
        "learning_curve": watch.curve,
        "ended_by": budget.last_of(cfg) if watch.ended_by == "steps" else watch.ended_by,
        "solved": watch.solved,
        "still_improving": not watch.solved and still_improving(watch.curve, watch.budget.memoryless_loss),
        "steps_to_solve": steps,
        "sequences_to_solve": None if steps is None else steps * cfg.batch_size,
        "seconds_to_solve": watch.seconds_to_solve if watch.solved else None,
    }


def gradients(probe: ProbeGradients) -> Any:
    """The gradient over distance for the record, at every training step at which it was measured."""
    return {
        "gradient": [point for profile in probe.profiles for point in profile.points],
        "gradient_scalars": [profile.scalars for profile in probe.profiles],
    }


def cost(watch: Watch, probe: ProbeGradients, trainer: pl.Trainer, batch_size: int) -> dict[str, Any]:
    """Time and memory of the training for the record.

    Times are in seconds. `tokens_per_second` leaves out the time of validations and of gradient measurements.
    """
    stepping = watch.seconds - watch.validation_seconds - probe.seconds
    return {
        "steps": trainer.global_step,
        "sequences": trainer.global_step * batch_size,
        "seconds": watch.seconds,
        "computing_seconds": watch.computing_seconds,
        "validation_seconds": watch.validation_seconds,
        "probe_seconds": probe.seconds,
        "tokens_per_second": watch.tokens / stepping if stepping > 0 else None,
        "peak_memory_bytes": peak_memory_bytes(trainer.strategy.root_device),
    }
