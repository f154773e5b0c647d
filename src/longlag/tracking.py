"""Weights & Biases: online when it can be, offline when not, and never the reason that a run is lost."""

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import wandb
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from longlag.records import Record, first_line, shown

log = logging.getLogger(__name__)

STEP = "trainer/global_step"  # Lightning's name
SINGLE = ("status", "solved", "steps_to_solve", "sequences_to_solve", "seconds_to_solve", "config_hash")
AXES = {"lag_curve": "lag", "gradient": "distance", "gradient_scalars": "step"}  # what the record's curves are over
MODES = ("auto", "online", "offline")


class Wandb(WandbLogger):
    """One W&B run, under exact metric names: Lightning's own `define_metric("*")` would fight with the lag axis.

    Args:
        project, entity, group, tags: as in `wandb.init`.
        name: of the run.
        run_config: what W&B shows as the configuration, plain values.
        dir: W&B keeps its files in `dir`/wandb; the environment variable WANDB_DIR goes first.
        mode: `online`, `offline`, or `auto`: online if logged in and the server answers within `timeout`. The
            environment variable WANDB_MODE goes first.
        timeout: seconds to wait for the server at the start and for the upload at the end.

    Raises:
        ValueError: where `mode` is unknown.
    """

    def __init__(
        self,
        project: str,
        name: str,
        run_config: Mapping[str, Any],
        entity: str | None = None,
        group: str | None = None,
        tags: Iterable[str] = (),
        dir: str = "outputs",
        mode: str = "auto",
        timeout: float = 15,
    ):
        if mode not in MODES:
            raise ValueError(f"logger.wandb.mode must be one of {', '.join(MODES)}, got {mode}")
        self._said: set[str] = set()  # failures, each of them once
        folder = Path(os.environ.get("WANDB_DIR", dir)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        given = {"project": project, "entity": entity, "group": group, "tags": list(tags), "name": name}
        first = rank_zero_only.rank in (0, None)  # the other ranks of a ddp run log nothing
        run = _start(mode, timeout, **given, config=dict(run_config), dir=folder, job_type="run") if first else None
        super().__init__(experiment=run, project=project, save_dir=str(folder))

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
        self._safely(lambda: _log_results(self.experiment, record, pictures))

    def close(self, ok: bool) -> None:
        """End the run, as failed where it did not finish, within the time-out."""
        if self._experiment is not None:
            self._safely(lambda: self.experiment.finish(exit_code=0 if ok else 1))

    def _safely(self, action: Callable[[], Any]) -> None:
        try:
            rank_zero_only(action)()
        except Exception as error:  # whatever W&B may raise: metrics.csv and record.json hold everything
            if first_line(error) not in self._said:
                log.warning("W&B: %s; the run goes on without it", first_line(error))
            self._said.add(first_line(error))


def _start(mode: str, timeout: float, **given: Any) -> Any:
    """`wandb.init`, online if possible; says once where an offline run lies and how to send it."""
    mode = os.environ.get("WANDB_MODE", mode)
    why = "as asked"
    if mode == "auto":
        mode, why = ("online", "") if _logged_in() else ("offline", "not logged in")
    settings = wandb.Settings(init_timeout=timeout, finish_timeout=timeout, silent=True, console="off")
    if mode == "online":
        try:
            return wandb.init(mode="online", settings=settings, **given)
        except Exception as error:  # CommError, UsageError, TimeoutError …: none of them may stop a run
            mode, why = "offline", first_line(error)
            wandb.teardown()
    run: Any = wandb.init(mode=mode, settings=settings, **given)  # type: ignore[arg-type]
    if mode == "offline":
        log.info("W&B is offline (%s). To send this run later: wandb sync %s", why, shown(Path(run.dir).parent))
    return run


def _logged_in() -> bool:
    try:
        return bool(wandb.login(prompt=False))
    except Exception:  # a broken key or settings file: offline
        return False


def _log_results(run: Any, record: Record, pictures: Iterable[Path]) -> None:
    for kind, axis in AXES.items():
        numbers = [{name: value for name, value in point.items() if _number(value)} for point in record[kind]]
        for name in sorted({name for point in numbers for name in point} - {axis}):
            run.define_metric(f"{kind}/{name}", step_metric=f"{kind}/{axis}")
        for point in numbers:
            run.log({f"{kind}/{name}": value for name, value in point.items()})
    for picture in pictures:
        run.log({f"{picture.stem}/picture": wandb.Image(str(picture))})
    if sample := record["example"].get("sample"):
        run.log({"example/sample": wandb.Table(columns=list(sample), data=[list(sample.values())])})
    summary = {name: record[name] for name in SINGLE}
    for group in ("test", "cost"):
        summary |= {f"{group}/{name}": value for name, value in record[group].items()}
    run.summary.update(summary)


def _number(value: Any) -> bool:
    return isinstance(value, int | float)
