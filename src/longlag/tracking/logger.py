"""The loggers of a run. Weights & Biases logs online if it can, else offline; its failures never stop a run."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import wandb
from omegaconf import DictConfig
from pytorch_lightning.loggers import Logger, WandbLogger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from longlag import records
from longlag.files import first_line
from longlag.instantiate import LOGGER, build
from longlag.records import Record
from longlag.report.artefacts import pictures
from longlag.tasks.task import Task
from longlag.tracking import wandb_runs

log = logging.getLogger(__name__)

STEP = "trainer/global_step"  # Lightning's name


@runtime_checkable
class LogsResults(Protocol):
    """A logger that takes the results of a run, beside the metrics of its training: any that has this method."""

    def log_results(self, record: Record, folder: Path) -> None:
        """Log what was measured, once, when the run has ended in whatever way; its pictures are in its folder."""


class Wandb(WandbLogger):
    """One W&B run. Each metric is defined by its name: Lightning's `define_metric("*")` would break the lag axis.

    Args:
        project, entity, group, tags: as in `wandb.init`.
        name: of the run.
        id: of the run; a run with an id that the server knows is continued. None: a new run.
        run_config: the configuration that W&B shows, as plain values.
        dir, mode, timeout: see `wandb_runs.start`.

    Raises:
        ValueError: if `mode` is unknown.
    """

    def __init__(
        self,
        project: str,
        name: str,
        run_config: Mapping[str, Any],
        id: str | None = None,
        entity: str | None = None,
        group: str | None = None,
        tags: Iterable[str] = (),
        dir: str = "outputs",
        mode: str = "auto",
        timeout: float = 15,
    ):
        self._said: set[str] = set()  # warnings logged so far: each is logged only once
        self._lost = False  # whether the process that wandb runs beside this one has ended
        given: dict[str, Any] = {"project": project, "entity": entity, "group": group, "tags": list(tags)}
        given |= {"name": name, "id": id}
        first = rank_zero_only.rank in (0, None)  # the other ranks of a DDP run log nothing
        given |= {"config": dict(run_config), "job_type": "run"}
        run = _start(mode, timeout, dir, **given) if first else None
        super().__init__(experiment=run, project=project, save_dir=str(wandb_runs.files_in(dir)))

    def declare(self, measures: Iterable[str]) -> None:
        """Define the metrics that are logged during training, with the training step as their x axis."""
        names = [f"{split}/{name}" for split in ("train", "val") for name in measures]
        names += ["val/chance", "train/gradient_norm", "train/lr", "train/lag"]
        self._safely(lambda: [self.experiment.define_metric(name, step_metric=STEP) for name in names])

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Like Lightning's method, but a failure causes a warning and does not stop the run."""
        self._safely(lambda: super(Wandb, self).log_metrics(metrics, step))

    def log_results(self, record: Record, folder: Path) -> None:
        """Log the lag curve, the gradients, the pictures and the generated text; the record becomes the W&B summary."""
        self._safely(lambda: wandb_runs.log_record(self.experiment, record, pictures(record, folder)))
        self.close(ok=record["status"] == "finished")

    def close(self, ok: bool) -> None:
        """End the W&B run within the timeout, and mark it as failed unless `ok`."""
        if self._experiment is not None:
            self._safely(lambda: wandb_runs.finish(self.experiment, ok))
        if self._lost:
            wandb_runs.abandon()

    def _safely(self, action: Callable[[], Any]) -> None:
        """Run the action; any error in it becomes a warning, since metrics.csv and record.json hold every result."""
        if self._lost:
            return
        try:
            rank_zero_only(action)()
        except Exception as error:
            self._lost = wandb_runs.is_lost(error)
            line = f"W&B: {first_line(error)}; the run goes on without it"
            if self._lost:
                line = (
                    f"W&B: its process is gone; the run goes on without it. {wandb_runs.to_send_later(self.experiment)}"
                )
            if line not in self._said:
                log.warning("%s", line)
            self._said.add(line)


def _start(*where: Any, **given: Any) -> Any:
    """A W&B run, or a disabled one that logs nothing if W&B cannot start."""
    try:
        return wandb_runs.start(*where, **given)
    except RuntimeError as error:
        log.warning("W&B: %s; the run goes on without it", first_line(error))
        return wandb.init(mode="disabled")


def _logger(name: str, node: DictConfig, folder: Path, record: Record) -> Logger:
    """Build the logger that the settings `node` describe."""
    if name == "wandb":
        named = wandb_runs.named(record)
        given = {"name": named["name"], "id": wandb_runs.run_id(folder, record), "run_config": named["config"]}
        tracked = build(node, LOGGER, **given)
        if not isinstance(tracked, Wandb):
            raise ValueError(f"logger.wandb._target_ must be {Wandb.__module__}.Wandb")
        return tracked
    logger: Logger = build(node, LOGGER, save_dir=str(folder))
    where = Path(logger.log_dir or logger.save_dir or folder)
    if not where.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"logger.{name} would write to {where}, which is not in the run's folder {folder}")
    return logger


@contextmanager
def tracking(cfg: DictConfig, folder: Path, record: Record, task: Task) -> Iterator[list[Logger]]:
    """The loggers of the run. When the block ends, even by an exception, those that log results get them.

    Raises ValueError if an entry of `cfg.logger` is not a logger or would write outside the folders of the run and W&B.
    """
    loggers = [_logger(str(name), node, folder, record) for name, node in cfg.logger.items()]
    for logger in loggers:
        if isinstance(logger, Wandb):
            logger.declare((*task.measures, *task.derived(dict.fromkeys(task.measures, 0.0))))
    try:
        yield loggers
    finally:
        for logger in loggers:
            if isinstance(logger, LogsResults):
                _log_results(logger, record, folder)


def _log_results(logger: LogsResults, record: Record, folder: Path) -> None:
    """Log the results; an error of the logger becomes a warning, since record.json holds every result."""
    try:
        logger.log_results(record, folder)
    except Exception as error:
        log.warning("%s: %s; the results are in %s", type(logger).__name__, first_line(error), records.FILE)
