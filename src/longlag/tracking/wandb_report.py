"""Publishes a set of runs as a W&B Report: the runs, their curves and a page that compares them. Needs no torch.

The page is made with wandb-workspaces, which `pip install longlag[report]` installs.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import wandb

from longlag.files import write_text
from longlag.records import Record
from longlag.tracking import wandb_runs
from longlag.tracking.wandb_sweep import log_sweep

SETTINGS = {"tags": [], "dir": "outputs", "mode": "online", "timeout": 60}
PROTOCOL = (
    "All models of a seed see the same sequences. A run is solved when its validation accuracy reaches the task's "
    "threshold at two consecutive validations. Stopping and the choice of weights use validation data alone; test "
    "sequences are drawn after training. Accuracy is over the scored steps only. The gradient over distance is the "
    "norm of the gradient of the loss at one scored step with respect to the input of the core so many steps "
    "earlier."
)


def target(where: str) -> tuple[str, str]:
    """The entity and the project that ENTITY/PROJECT names. Raises ValueError if `where` has another form."""
    entity, _, project = where.partition("/")
    if not (entity and project) or "/" in project:
        raise ValueError(f"--wandb must be ENTITY/PROJECT, got {where}")
    return entity, project


def publish(runs: Sequence[Record], where: str, title: str, kept: Path) -> str:
    """Create or update the report and return its address.

    Runs that are already in the project are reused; the others are uploaded from their records.

    Args:
        runs: records of the runs.
        where: ENTITY/PROJECT.
        title: of the report.
        kept: a JSON file that stores the id of the report, so that the next call updates the same report.

    Raises:
        ValueError: if `where` is not ENTITY/PROJECT, nobody is logged in, or wandb-workspaces is missing.
        ConnectionError: if W&B cannot be reached.
    """
    entity, project = target(where)
    make = _workspaces()
    if not wandb_runs.logged_in():
        raise ValueError("nobody is logged in to W&B: run `wandb login` first, or set WANDB_API_KEY")
    group = f"{title} {_contents(runs)}"
    try:
        _send_missing(runs, group, SETTINGS | {"entity": entity, "project": project})
        report = make.Report(entity=entity, project=project, title=title, description="Made by longlag.")
        report.blocks = _blocks(make, title, group)
        if kept.exists():
            report.id = json.loads(kept.read_text(encoding="utf-8"))["id"]
        report.save()
    except (wandb.Error, OSError) as error:
        raise ConnectionError(f"W&B: {error}") from error
    write_text(kept, json.dumps({"id": report.id, "url": report.url}) + "\n")
    return str(report.url)


def _workspaces() -> Any:
    try:
        import wandb_workspaces.reports.v2 as make
    except ImportError as error:
        raise ValueError("a W&B report needs wandb-workspaces: pip install 'longlag[report]'") from error
    return make


def _contents(runs: Sequence[Record]) -> str:
    """A hash of this set of runs, so that the curves of another set become other W&B runs."""
    found = sorted(f"{run['config_hash']} {run['status']}" for run in runs)
    return hashlib.sha256("\n".join(found).encode()).hexdigest()[:8]


def _send_missing(runs: Sequence[Record], group: str, settings: dict[str, Any]) -> None:
    """Upload the runs that the project lacks, and the curves if it has no run of this W&B group."""
    api = wandb.Api(timeout=settings["timeout"])
    try:
        there = list(api.runs(f"{settings['entity']}/{settings['project']}", lazy=False))
    except ValueError as error:
        if "Could not find project" not in str(error):  # W&B creates the project with its first run
            raise
        there = []
    known = {run.config.get("config_hash") for run in there}
    for record in runs:
        if record["config_hash"] not in known:
            _send(record, settings)
    if group not in {run.group for run in there}:
        log_sweep(runs, group, settings)


def _send(record: Record, settings: dict[str, Any]) -> None:
    given = wandb_runs.named(record) | {key: settings[key] for key in ("entity", "project", "tags")}
    run = wandb_runs.start(settings["mode"], settings["timeout"], settings["dir"], tell=False, **given)
    if run.offline:
        raise ConnectionError("the server does not answer")
    wandb_runs.log_record(run, record)
    for at in record["learning_curve"]:
        run.log({"trainer/global_step": at["step"], "val/accuracy": at["accuracy"], "val/loss": at["loss"]})
    wandb_runs.finish(run, record["status"] == "finished")


def _blocks(make: Any, title: str, group: str) -> list[Any]:
    """The blocks of the page: the protocol, then panels of accuracy, gradient, learning, every point and every run."""
    curves = make.Runset(name="curves", filters=f"Metric('Group') == '{group}' and Metric('JobType') == 'curve'")
    whole = make.Runset(
        name="comparison", filters=f"Metric('Group') == '{group}' and Metric('JobType') == 'comparison'"
    )
    runs = make.Runset(name="runs", filters="Metric('JobType') == 'run'", groupby=["config.model"])
    by_model = {"groupby": "config.model", "groupby_rangefunc": "minmax"}
    accuracy = [
        make.LinePlot(title=words, x=f"{which}/lag", y=[f"{which}/accuracy"], log_x=True, range_y=(0, 1))
        for words, which in (("trained at each lag", "trained"), ("trained once, tested at each lag", "tested"))
    ]
    gradient = make.LinePlot(
        title="log10 of its norm", x="gradient/distance", y=["gradient/log10_norm"], log_x=True, **by_model
    )
    learning = [
        make.LinePlot(title=name, x="trainer/global_step", y=[name], **by_model)
        for name in ("val/accuracy", "val/loss")
    ]
    return [
        make.H1(title),
        make.P(PROTOCOL),
        *(make.H2("Accuracy against lag"), make.PanelGrid(runsets=[curves], panels=accuracy)),
        *(make.H2("Gradient over distance"), make.PanelGrid(runsets=[runs], panels=[gradient])),
        *(make.H2("Learning"), make.PanelGrid(runsets=[runs], panels=learning)),
        make.H2("Every run"),
        make.PanelGrid(runsets=[whole], panels=[make.WeavePanelSummaryTable(table_name="comparison/table")]),
        make.PanelGrid(runsets=[runs], panels=[make.RunComparer()]),
    ]
