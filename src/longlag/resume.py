"""Where a run that was begun goes on, and what there is of it. Needs no torch."""

from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from longlag import records
from longlag.records import Record
from longlag.settings import plain, said

CHANGEABLE = ("trainer", "runtime", "logger")  # of a run that goes on: where it runs, not what it is
ENDED = ("finished", "diverged")  # a run that diverged would do so again
GRID = "multirun.yaml"  # Hydra keeps the command of a sweep there


class Plan(NamedTuple):
    """A run to be made.

    Attributes:
        cfg: its settings.
        folder: its own.
        names: `model` and `task` as they were chosen, and the `command` that makes the run.
        begun: what there is of it already.
    """

    cfg: DictConfig
    folder: Path
    names: dict[str, Any]
    begun: Record | None

    @property
    def ended(self) -> bool:
        """Whether nothing is left to do."""
        return self.begun is not None and self.begun["status"] in ENDED


def of_run(cfg: DictConfig, overrides: list[str]) -> Plan:
    """The run in the folder `resume`, with the settings of its record.

    Raises FileNotFoundError without a run, ValueError where the overrides would make another run of it.
    """
    folder = Path(str(cfg.resume))
    record = records.read(folder)
    settings = DictConfig(record["config"])
    for override in OverridesParser.create().parse_overrides(overrides):
        group = override.key_or_group.split(".")[0]
        if group in CHANGEABLE:
            settings[group] = cfg[group]
        elif group != "resume":
            raise ValueError(
                f"{override.input_line}: a run goes on as it was begun; only {', '.join(CHANGEABLE)} may change"
            )
    if records.config_hash(plain(settings)) != records.config_hash(record["config"]):
        raise ValueError(f"{folder} was begun with another trainer.precision or gradient_clip_val: give them, too")
    return Plan(settings, folder, {name: record.get(name) for name in ("model", "task", "command")}, record)


def of_cell(cfg: DictConfig, folder: Path, names: dict[str, Any]) -> Plan:
    """A cell of a sweep, wherever below the folder `resume` it was begun."""
    where = place(cfg, folder)
    return Plan(cfg, where, names, begun(where) if cfg.resume else None)


def place(cfg: DictConfig, folder: Path) -> Path:
    """The folder of a cell: where one of its configuration was begun, or `folder` where that is free."""
    if not cfg.get("resume"):
        return folder
    asked = records.config_hash(plain(cfg))
    known = _index(cfg.resume).get(asked)
    if known:
        return known
    there = begun(folder)
    free = there["config_hash"] == asked if there else not (folder / records.FILE).exists()
    return folder if free else folder.with_name(f"{folder.name}_{asked[:6]}")  # the grid has other numbers now


def begun(folder: Path) -> Record | None:
    """What there is of a run; None where nothing is, or nothing that can be read."""
    try:
        return records.read(folder)
    except (FileNotFoundError, ValueError):
        return None


def grid(arguments: list[str]) -> list[str]:
    """The command's arguments; where they say to go on with a sweep and name no grid, with those that began it.

    What is given replaces what was: `resume=FOLDER seed=0,1,2,3` widens the grid.

    Raises FileNotFoundError where there is nothing to go on with, ValueError where the command of the sweep is broken.
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
        return arguments
    return ["-m", *arguments[:where], *_grid_of(folder, arguments), *arguments[where:]] if swept else arguments


def _grid_of(folder: Path, arguments: list[str]) -> list[str]:
    """The overrides that a sweep was begun with, those left out that are given anew."""
    try:
        began: Any = OmegaConf.to_container(OmegaConf.load(folder / GRID), resolve=False)
        words = [*began["hydra"]["overrides"]["hydra"], *began["hydra"]["overrides"]["task"]]
    except Exception as error:  # a broken file raises whatever its first broken byte leads to
        raise ValueError(
            f"{folder / GRID} does not hold the command of a sweep; give its grid again, with -m"
        ) from error
    given = {_key(word) for word in arguments} | {"hydra.sweep.dir", "hydra.mode"}
    other = "hydra/launcher" in given  # its settings are others
    return [word for word in words if _key(word) not in given and not (other and word.startswith("hydra.launcher."))]


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def index(folder: str | Path) -> dict[str, Path]:
    """The runs below a folder by what was asked for; of several, one that ended."""
    found: dict[str, Path] = {}
    for path in sorted(Path(folder).rglob(records.FILE)):
        record = begun(path.parent)
        if record and (record["config_hash"] not in found or record["status"] in ENDED):
            found[record["config_hash"]] = path.parent
    return found


_index = lru_cache(index)  # for as long as a command makes up its cells
