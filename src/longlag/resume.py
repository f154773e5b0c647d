"""Where a run that was begun goes on, and what there is of it. Needs no torch."""

from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from longlag import records, sweep_command
from longlag.records import Record
from longlag.records.identity import flattened
from longlag.settings import CONF, plain, said

CHANGEABLE = ("trainer", "runtime", "logger")  # of a run that goes on: where it runs, not what it is
MADE_NOW = ("_target_", "dir", "name", "version")  # of those, what is made and where files go: never of a record
ENDED = ("finished", "diverged")  # a run that diverged would do so again
ROUNDING = tuple(f"trainer.{name}" for name in ("accelerator", "devices", "num_nodes", "strategy"))
ROUNDING += ("runtime.threads",)  # under others of these, a run has other numbers in the last digits
GRID = sweep_command.FILE


class RunPlan(NamedTuple):
    """A run to be made, or to go on.

    Attributes:
        cfg: its settings.
        folder: its own.
        model, task: the names of the YAML files that were chosen.
        command: that makes this run by itself; None where there is none.
        begun: its record, where it was begun already.
    """

    cfg: DictConfig
    folder: Path
    model: str
    task: str
    command: str | None = None
    begun: Record | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing is left to do."""
        return self.begun is not None and self.begun["status"] in ENDED


def of_run(cfg: DictConfig, overrides: list[str]) -> RunPlan:
    """The run in the folder `resume`, with the settings of its record.

    The record may be anybody's. What says what the run is comes from it, `targets` deciding what may be made. Of
    `trainer`, `runtime` and `logger` it gives plain values alone: the precision, the clipping and the interval of
    logging, which a run that goes on bit for bit must keep, the devices, the W&B project. What is made there and where
    files go are of the command's own configuration.

    Raises FileNotFoundError without a run, ValueError where the overrides would make another run of it, or its record
    sets what the command's configuration does not have.
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
                f"{override.input_line}: a run goes on as it was begun; only {', '.join(CHANGEABLE)} may change"
            )
    stored: dict[str, Any] = {**record["config"]}
    for group in CHANGEABLE:
        settings[group] = cfg[group] if group in anew else _begun_with(stored[group], cfg[group], group)
    if records.config_hash(plain(settings)) != record["config_hash"]:
        raise ValueError(f"{folder} was begun with another trainer.precision or gradient_clip_val: give them, too")
    return RunPlan(settings, folder, record["model"], record["task"], record["command"], record)


def _begun_with(begun: dict[str, Any], now: DictConfig, group: str) -> DictConfig:
    """The settings `now` of a group, with the plain values that the record has for them.

    Raises ValueError where the record has a setting that there is not now, or one that is no plain value.
    """
    settings: Any = OmegaConf.to_container(now, resolve=True)
    return records.as_config(_merged(begun, settings, group))


def _merged(begun: dict[str, Any], now: dict[str, Any], name: str) -> dict[str, Any]:
    """The values of the record for what `now` has, but not for what is made and where files go.

    What has settings of its own, as each logger does, is left out where the record does not have it.
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
    """A run of a sweep, wherever below the folder `resume` it was begun; with what it was begun with, but for where."""
    cfg, where = asked.cfg, place(asked.cfg, asked.folder)
    there = begun(where) if cfg.resume else None
    if there is None:
        return asked._replace(folder=where)
    settings = records.config_of(there)
    for group in CHANGEABLE:
        settings[group] = cfg[group]
    return asked._replace(cfg=settings, folder=where, begun=there)


def place(cfg: DictConfig, folder: Path) -> Path:
    """The folder of a run of a sweep: where it was begun, or `folder` where that is free."""
    if not cfg.get("resume"):
        return folder
    asked = records.begun_hash(plain(cfg))
    known = _index(cfg.resume).get(asked)
    if known:
        return known
    there = begun(folder)
    free = records.begun_hash(there["config"]) == asked if there else not (folder / records.FILE).exists()
    return folder if free else folder.with_name(f"{folder.name}_{asked[:6]}")  # the grid has other numbers now


def differences(plan: RunPlan) -> list[str]:
    """What is not as a run was begun, of what may change its numbers in the last digits; empty where nothing is."""
    if plan.begun is None:
        return []
    before, now = flattened(plan.begun["config"]), flattened(plain(plan.cfg))
    return [
        f"{name}={now.get(name)} (was {before.get(name)})" for name in ROUNDING if before.get(name) != now.get(name)
    ]


def begun(folder: Path) -> Record | None:
    """What there is of a run; None where nothing is, or nothing that can be read."""
    try:
        return records.read(folder)
    except (OSError, ValueError):
        return None


def grid(arguments: list[str]) -> list[str]:
    """The command's arguments; where they say to go on with a sweep and name no grid, with those that began it.

    What is given replaces what was: `resume=FOLDER seed=0,1,2,3` widens the grid.

    Raises FileNotFoundError where there is nothing to go on with, ValueError where the command of the sweep is broken,
    PermissionError where a link leads out of its folder.
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
        if not folder.is_dir():  # Hydra would make it
            raise FileNotFoundError(f"{folder} holds no run: there is no such folder")
        return arguments
    records.refuse_links_out(folder)
    return ["-m", *arguments[:where], *_grid_of(folder, arguments), *arguments[where:]]


def _grid_of(folder: Path, arguments: list[str]) -> list[str]:
    """The overrides that a sweep was begun with, those left out that are given anew."""
    there = {name: {path.stem for path in (CONF / "hydra" / name).glob("*.yaml")} for name in sweep_command.PLUGINS}
    return sweep_command.taken(folder, {sweep_command.key_of(word) for word in arguments}, there)


def index(folder: str | Path) -> dict[str, Path]:
    """The runs below a folder by `begun_hash`; of several of one, one that ended."""
    found: dict[str, Path] = {}
    for path in sorted(Path(folder).rglob(records.FILE)):
        if record := begun(path.parent):
            asked = records.begun_hash(record["config"])
            if asked not in found or record["status"] in ENDED:
                found[asked] = path.parent
    return found


_index = lru_cache(index)  # for as long as a command makes up its cells
