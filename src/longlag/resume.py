"""Where a run that was begun goes on, and what there is of it. Needs no torch."""

from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from longlag import records
from longlag.records import Record
from longlag.records.identity import flattened
from longlag.settings import plain

CHANGEABLE = ("trainer", "runtime", "logger")  # of a run that goes on: where it runs, not what it is
ENDED = ("finished", "diverged")  # a run that diverged would do so again
ROUNDING = tuple(f"trainer.{name}" for name in ("accelerator", "devices", "num_nodes", "strategy"))
ROUNDING += ("runtime.threads",)  # under others of these, a run has other numbers in the last digits
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
    folder = Path(cfg.resume)
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
    if records.config_hash(plain(settings)) != record["config_hash"]:
        raise ValueError(f"{folder} was begun with another trainer.precision or gradient_clip_val: give them, too")
    return Plan(
        settings, folder, {"model": record["model"], "task": record["task"], "command": record["command"]}, record
    )


def of_cell(cfg: DictConfig, folder: Path, names: dict[str, Any]) -> Plan:
    """A run of a sweep, wherever below the folder `resume` it was begun; with what it was begun with, but for where."""
    where = place(cfg, folder)
    there = begun(where) if cfg.resume else None
    if there is None:
        return Plan(cfg, where, names, None)
    settings = DictConfig(there["config"])
    for group in CHANGEABLE:
        settings[group] = cfg[group]
    return Plan(settings, where, names, there)


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


def differences(plan: Plan) -> list[str]:
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

    Raises FileNotFoundError where there is nothing to go on with, ValueError where the command of the sweep is broken.
    """
    _index.cache_clear()
    where = next((at for at, word in enumerate(arguments) if word.startswith("resume=")), None)
    if where is None:
        return arguments
    folder = Path(arguments[where].removeprefix("resume="))
    swept = (folder / GRID).is_file()
    if {"-m", "--multirun"} & set(arguments):
        if not swept and next(folder.rglob(records.FILE), None) is None:
            raise FileNotFoundError(f"{folder} holds no sweep: there is nothing to go on with")
        return arguments
    if not swept and not folder.is_dir():  # Hydra would make it
        raise FileNotFoundError(f"{folder} holds no run: there is no such folder")
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
    """The runs below a folder by `begun_hash`; of several of one, one that ended."""
    found: dict[str, Path] = {}
    for path in sorted(Path(folder).rglob(records.FILE)):
        if record := begun(path.parent):
            asked = records.begun_hash(record["config"])
            if asked not in found or record["status"] in ENDED:
                found[asked] = path.parent
    return found


_index = lru_cache(index)  # for as long as a command makes up its cells
