"""Resuming runs and sweeps: which folder holds which run, and with which settings it resumes. Does not import torch."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from longlag import records, sweep_command
from longlag.records import Record
from longlag.records.identity import flattened
from longlag.settings import CONF, plain, said

CHANGEABLE = ("trainer", "runtime", "logger")  # groups that may change when a run resumes: where and how it runs
MADE_NOW = ("_target_", "dir", "name", "version")  # their keys for classes and paths: never taken from a record
ENDED = ("finished", "diverged")  # statuses that are not resumed; a run that diverged would diverge again
ROUNDING = tuple(f"trainer.{name}" for name in ("accelerator", "devices", "num_nodes", "strategy"))
ROUNDING += (
    "runtime.threads",
    "runtime.kernels",
)  # changing one of these changes the order of sums, and so the last digits
GRID = sweep_command.FILE  # a folder with this file holds a sweep


class RunPlan(NamedTuple):
    """A run that is to start or to resume.

    Attributes:
        cfg: the settings of the run.
        folder: the folder of the run.
        model, task: the names of the chosen YAML files.
        command: the command line that makes this run alone; None if there is none.
        begun: the record of the run if it was already started, else None.
        core: the class or function that makes the core, if it was given in Python; None: `cfg.model` names it.
    """

    cfg: DictConfig
    folder: Path
    model: str
    task: str
    command: str | None = None
    begun: Record | None = None
    core: Callable[..., Any] | None = None

    @property
    def ended(self) -> bool:
        """Whether the run already finished or diverged, so that nothing is left to do."""
        return self.begun is not None and self.begun["status"] in ENDED


def of_run(cfg: DictConfig, overrides: list[str]) -> RunPlan:
    """The plan to resume the run in the folder `resume`, with the settings of its record.

    The record is untrusted. The settings that define the run come from it, and `instantiate` decides which classes they
    may name. For `trainer`, `runtime` and `logger` only plain values come from it: those that must stay the same for a
    bit-for-bit resume (precision, gradient clipping, logging interval), the devices, the W&B project. Classes and paths
    of these three groups come from the configuration of this command.

    Raises FileNotFoundError if the folder holds no run. Raises ValueError if the overrides would make it a different
    run, or if the record has a setting that the configuration of this command does not have.
    """
    folder = Path(str(cfg.resume))
    record = records.read(folder)
    settings, anew = records.config_of(record), set()
    for override in OverridesParser.create().parse_overrides(overrides):
        group = override.key_or_group.split(".")[0]
        if group in CHANGEABLE:
            anew.add(group)
        elif group != "resume":
            raise ValueError(
                f"{override.input_line}: a run goes on with the settings that it was begun with; "
                f"only {', '.join(CHANGEABLE)} may change"
            )
    stored: dict[str, Any] = {**record["config"]}
    for group in CHANGEABLE:
        settings[group] = cfg[group] if group in anew else _begun_with(stored[group], cfg[group], group)
    if records.config_hash(plain(settings)) != record["config_hash"]:
        raise ValueError(
            f"{folder} was begun with another trainer.precision or trainer.gradient_clip_val; give the same again"
        )
    return RunPlan(settings, folder, record["model"], record["task"], record["command"], record)


def _begun_with(begun: dict[str, Any], now: DictConfig, group: str) -> DictConfig:
    """The settings `now` of a group, with their plain values replaced by those of the record.

    Raises ValueError if the record has a setting that `now` lacks, or a value that is not plain.
    """
    settings: Any = OmegaConf.to_container(now, resolve=True)
    return records.as_config(_merged(begun, settings, group))


def _merged(begun: dict[str, Any], now: dict[str, Any], name: str) -> dict[str, Any]:
    """The settings `now` with the values of the record, except for classes and paths (MADE_NOW).

    An entry with settings of its own, such as a logger, is left out if the record does not have it.
    """
    for key, value in begun.items():
        listed = value if isinstance(value, list) else [value]
        holds_more = any(isinstance(one, dict | list) for one in listed)
        if key not in now or holds_more != isinstance(now[key], dict):
            raise ValueError(f"{name}.{ascii(key)[1:-1]} is not taken from a record; give {name} again")
    merged: dict[str, Any] = {}
    for key, value in now.items():
        if isinstance(value, dict):
            merged |= {key: _merged(begun[key], value, f"{name}.{key}")} if key in begun else {}
        else:
            stays = key not in MADE_NOW and "${" not in str(
                begun.get(key)
            )  # a secret is not stored: see settings.plain
            merged[key] = begun.get(key, value) if stays else value
    return merged


def of_sweep(asked: RunPlan) -> RunPlan:
    """The plan of one run of a sweep, which may have been started anywhere below the folder `resume`.

    A run that was started keeps the settings of its record, except for the groups of CHANGEABLE.
    """
    cfg, where = asked.cfg, place(asked.cfg, asked.folder)
    there = begun(where) if cfg.resume else None
    return asked._replace(folder=where) if there is None else begun_again(asked._replace(folder=where), there)


def begun_again(asked: RunPlan, there: Record) -> RunPlan:
    """The plan to resume the run of this record: with its settings, except for the groups of CHANGEABLE."""
    settings = records.config_of(there)
    for group in CHANGEABLE:
        settings[group] = asked.cfg[group]
    return asked._replace(cfg=settings, begun=there)


def place(cfg: DictConfig, folder: Path) -> Path:
    """The folder of one run of a sweep: where it was started, else `folder`, or a new name if `folder` is taken."""
    if not cfg.get("resume"):
        return folder
    asked = records.begun_hash(plain(cfg))
    known = _index(cfg.resume).get(asked)
    if known:
        return known
    there = begun(folder)
    free = records.begun_hash(there["config"]) == asked if there else not (folder / records.FILE).exists()
    return folder if free else folder.with_name(f"{folder.name}_{asked[:6]}")  # a changed grid numbers its jobs anew


def differences(plan: RunPlan) -> list[str]:
    """The settings of ROUNDING that differ from those the run was started with, in words for the user."""
    if plan.begun is None:
        return []
    older = {"runtime.kernels": "library"}  # of records without this setting
    before, now = (older | flattened(config) for config in (plan.begun["config"], plain(plan.cfg)))
    return [
        f"{name}={now.get(name)} (was {before.get(name)})" for name in ROUNDING if before.get(name) != now.get(name)
    ]


def begun(folder: Path) -> Record | None:
    """The record of the run in this folder; None if there is no record or it cannot be read."""
    try:
        return records.read(folder)
    except (OSError, ValueError):
        return None


def grid(arguments: list[str]) -> list[str]:
    """The arguments of the command; to resume a sweep, together with the overrides that the sweep was started with.

    With `-m` the command line gives the whole grid, and nothing is added. Without it, an override on the command line
    replaces the stored one of the same key: `resume=FOLDER seed=0,1,2,3` extends the sweep to these seeds.

    Raises:
        FileNotFoundError: if there is nothing to resume.
        ValueError: if the stored command of the sweep is broken.
        PermissionError: if a symbolic link leads out of the folder.
    """
    _index.cache_clear()
    where = next((at for at, word in enumerate(arguments) if word.startswith("resume=")), None)
    if where is None:
        return arguments
    named = arguments[where].removeprefix("resume=").strip()
    if not named or named[0] in "[{":
        raise ValueError(f"resume= must name the folder of a run or of a sweep to go on with, got {said(named)}")
    folder = Path(named)
    swept = (folder / GRID).is_file()
    if {"-m", "--multirun"} & set(arguments):
        if not swept and next(folder.rglob(records.FILE), None) is None:
            raise FileNotFoundError(f"{folder} holds no sweep: there is nothing to go on with")
        records.refuse_links_out(folder)
        return arguments
    if not swept:
        if not folder.is_dir():  # without this check Hydra would create the folder
            raise FileNotFoundError(f"{folder} holds no run: there is no such folder")
        return arguments
    records.refuse_links_out(folder)
    return ["-m", *arguments[:where], *_grid_of(folder, arguments), *arguments[where:]]


def _grid_of(folder: Path, arguments: list[str]) -> list[str]:
    """The overrides that a sweep was started with, without those that the command line replaces."""
    there = {name: {path.stem for path in (CONF / "hydra" / name).glob("*.yaml")} for name in sweep_command.PLUGINS}
    return sweep_command.taken(folder, {sweep_command.key_of(word) for word in arguments}, there)


def index(folder: str | Path) -> dict[str, Path]:
    """The folder of each run below a folder, by `begun_hash`. If a run is there more than once, one that ended wins."""
    found: dict[str, Path] = {}
    for path in sorted(Path(folder).rglob(records.FILE)):
        if record := begun(path.parent):
            asked = records.begun_hash(record["config"])
            if asked not in found or record["status"] in ENDED:
                found[asked] = path.parent
    return found


_index = lru_cache(index)  # one scan serves all runs of a command; `grid` clears it when a command starts
