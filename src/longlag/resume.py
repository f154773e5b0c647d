"""Where a run that was begun goes on, and what there is of it. Needs no torch."""

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from longlag import records
from longlag.records import Record
from longlag.settings import plain

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
    names: dict[str, str]
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
    return Plan(settings, folder, {name: record[name] for name in ("model", "task", "command")}, record)


def of_cell(cfg: DictConfig, folder: Path, names: dict[str, str]) -> Plan:
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
    """
    folder = next((Path(word.removeprefix("resume=")) for word in arguments if word.startswith("resume=")), None)
    if folder is None or {"-m", "--multirun"} & set(arguments) or not (folder / GRID).is_file():
        return arguments
    overrides = OmegaConf.load(folder / GRID).hydra.overrides
    given = {_key(word) for word in arguments} | {"hydra.sweep.dir", "hydra.mode"}
    return ["-m", *(word for word in [*overrides.hydra, *overrides.task] if _key(word) not in given), *arguments]


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


@lru_cache
def _index(folder: str) -> dict[str, Path]:
    """The runs below a folder by what was asked for; of several, one that ended."""
    found: dict[str, Path] = {}
    for path in sorted(Path(folder).rglob(records.FILE)):
        record = begun(path.parent)
        if record and (record["config_hash"] not in found or record["status"] in ENDED):
            found[record["config_hash"]] = path.parent
    return found
