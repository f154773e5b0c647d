"""Logs a sweep to Weights & Biases: one W&B run with the curves of each model, and one that compares all models.

Uses only the records; needs no torch.
"""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import wandb

from longlag.files import first_line, shown
from longlag.records import Record
from longlag.report.groups import Group, groups
from longlag.report.statistics import accuracy
from longlag.report.table import tested_at, with_test
from longlag.tracking import wandb_runs

log = logging.getLogger(__name__)

LONG = ("task", "model", "differs in", "seed", "trained at lag", "tested at lag", "accuracy", "chance", "solved")


def log_sweep(records: Sequence[Record], sweep: str, settings: dict[str, Any]) -> None:
    """Log the curves and the comparison. Any failure of W&B causes only a warning.

    Args:
        records: of the sweep; those without a test are left out.
        sweep: name of the sweep. The W&B ids are derived from it, so logging it again updates the same W&B runs.
        settings: `project`, `entity`, `tags`, `dir`, `mode` and `timeout` of `conf/logger/wandb.yaml`.
    """
    finished = with_test(groups(records))
    lines: dict[tuple[str, str], list[Group]] = {}
    for group in finished:
        lines.setdefault((group.task, group.name), []).append(group)
    try:
        for (task, name), line in lines.items():
            run = _start(settings, sweep, "curve", f"{name} on {task}")
            if run.offline:
                settings = settings | {"mode": "offline"}  # the server did not answer: do not wait for it again
            _log_curve(run, line)
        if lines:
            run = _start(settings, sweep, "comparison", f"{sweep} compared")
            _log_comparison(run, finished, lines)
            if run.offline:
                runs = shown(Path(run.dir).parents[1]) / "offline-run-*"
                log.info("W&B is offline. To send the sweep later: wandb sync %s", runs)
    except Exception as error:  # any error of W&B: the records hold every result
        log.warning("W&B: %s; `longlag table` shows the sweep without it", first_line(error))


def _start(settings: dict[str, Any], group: str, job_type: str, name: str) -> Any:
    given = {key: settings[key] for key in ("project", "entity", "tags")}
    identity = hashlib.sha256(f"{group} {job_type} {name}".encode()).hexdigest()[:16]
    where = settings["mode"], settings["timeout"], settings["dir"]
    return wandb_runs.start(*where, tell=False, **given, group=group, job_type=job_type, name=name, id=identity)


def _log_curve(run: Any, line: Sequence[Group]) -> None:
    """Log accuracy at each trained lag, and accuracy of the networks of the largest trained lag at each tested lag."""
    curves = {
        "trained": {group.lag: accuracy(group.finished) for group in line},
        "tested": tested_at(line[-1].finished),
    }
    for which, curve in curves.items():
        run.define_metric(f"{which}/accuracy", step_metric=f"{which}/lag")
        for lag, estimate in curve.items():
            run.log({f"{which}/lag": lag, f"{which}/accuracy": estimate.value, f"{which}/seeds": estimate.runs})
    wandb_runs.finish(run)


def _log_comparison(run: Any, finished: Sequence[Group], lines: dict[tuple[str, str], list[Group]]) -> None:
    """Log one long table with every point of every run, and a chart with a line for each model."""
    rows = [
        [
            group.task,
            group.model,
            group.settings,
            one["seed"],
            group.lag,
            at["lag"],
            at["accuracy"],
            at["chance"],
            one["solved"],
        ]
        for group in finished
        for one in group.finished
        for at in one["lag_curve"]
    ]
    run.log({"comparison/table": wandb.Table(columns=list(LONG), data=rows)})
    curves = [{group.lag: accuracy(group.finished).value for group in line} for line in lines.values()]
    chart = wandb.plot.line_series(
        xs=[list(curve) for curve in curves],
        ys=[list(curve.values()) for curve in curves],
        keys=[f"{name} on {task}" for task, name in lines],
        title="accuracy against the lag trained and tested at",
        xname="lag",
    )
    run.log({"comparison/accuracy": chart})
    wandb_runs.finish(run)
