"""Weights & Biases: online when it can be, offline when not, and never the reason that a run is lost."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import wandb
from omegaconf import DictConfig
from pytorch_lightning.loggers import Logger, WandbLogger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from longlag.files import first_line
from longlag.instantiate import LOGGER, build
from longlag.records import Record
from longlag.report import figures
from longlag.tasks.task import Task
from longlag.tracking import wandb_runs

log = logging.getLogger(__name__)

STEP = "trainer/global_step"  # Lightning's name


class Wandb(WandbLogger):
    """One W&B run, under exact metric names: Lightning's own `define_metric("*")` would fight with the lag axis.

    Args:
        project, entity, group, tags: as in `wandb.init`.
        name: of the run.
        id: of the run; one that the server knows goes on. null: a new one.
        run_config: what W&B shows as the configuration, plain values.
        dir, mode, timeout: see `wandb_runs.start`.

    Raises:
        ValueError: where `mode` is unknown.
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
        self._said: set[str] = set()  # failures, each of them once
        self._lost = False  # whether wandb's own process is
        given: dict[str, Any] = {"project": project, "entity": entity, "group": group, "tags": list(tags)}
        given |= {"name": name, "id": id}
        first = rank_zero_only.rank in (0, None)  # the other ranks of a ddp run log nothing
        given |= {"config": dict(run_config), "job_type": "run"}
        run = _start(mode, timeout, dir, **given) if first else None
        super().__init__(experiment=run, project=project, save_dir=str(wandb_runs.files_in(dir)))

    def declare(self, measures: Iterable[str]) -> None:
        """Give what is measured while training its axis, the training step."""
        names = [f"{split}/{name}" for split in ("train", "val") for name in measures]
        names += ["val/chance", "train/gradient_norm", "train/lr", "train/lag"]
        self._safely(lambda: [self.experiment.define_metric(name, step_metric=STEP) for name in names])

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """As Lightning's, but a failure costs a warning and not the run."""
        self._safely(lambda: super(Wandb, self).log_metrics(metrics, step))

    def log_results(self, record: Record, pictures: Iterable[Path]) -> None:
        """The lag curve, the gradients, the pictures, the generated text, and the record as the run's summary."""
        self._safely(lambda: wandb_runs.log_record(self.experiment, record, pictures))

    def close(self, ok: bool) -> None:
        """End the run, as failed where it did not finish, within the time-out."""
        if self._experiment is not None:
            self._safely(lambda: wandb_runs.finish(self.experiment, ok))
        if self._lost:
            wandb_runs.abandon()

    def _safely(self, action: Callable[[], Any]) -> None:
        """Whatever W&B may raise costs a warning: metrics.csv and record.json hold everything."""
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
    """A W&B run, or one that tracks nothing where W&B cannot start."""
    try:
        return wandb_runs.start(*where, **given)
    except RuntimeError as error:
        log.warning("W&B: %s; the run goes on without it", first_line(error))
        return wandb.init(mode="disabled")


def _logger(name: str, node: DictConfig, folder: Path, record: Record) -> Logger:
    """The logger that `node` describes."""
    if name == "wandb":
        named = wandb_runs.named(record)
        given = {"name": named["name"], "id": wandb_runs.run_id(folder, record), "run_config": named["config"]}
        tracked = build(node, LOGGER, **given)
        if not isinstance(tracked, Wandb):
            raise ValueError(f"logger.wandb must be {Wandb.__module__}.Wandb")
        return tracked
    logger: Logger = build(node, LOGGER, save_dir=str(folder))
    where = Path(logger.log_dir or logger.save_dir or folder)
    if not where.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"logger.{name} would write to {where}, which is not in the run's folder {folder}")
    return logger


@contextmanager
def tracking(cfg: DictConfig, folder: Path, record: Record, task: Task) -> Iterator[list[Logger]]:
    """The loggers of the run. W&B gets the results at the end and is closed whatever happens.

    Raises ValueError where a logger is none, or would write elsewhere than in the run's folder or W&B's.
    """
    loggers = [_logger(str(name), node, folder, record) for name, node in cfg.logger.items()]
    ours = [logger for logger in loggers if isinstance(logger, Wandb)]
    for logger in ours:
        logger.declare((*task.measures, *task.derived(dict.fromkeys(task.measures, 0.0))))
    try:
        yield loggers
    finally:
        for logger in ours:
            logger.log_results(record, [folder / name for name in figures.PICTURES if (folder / name).exists()])
            logger.close(ok=record["status"] == "finished")
