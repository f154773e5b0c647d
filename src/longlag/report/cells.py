"""The cells of a set of runs: runs of one configuration that differ in their seed. Needs no torch."""

import json
import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from longlag import records
from longlag.records import Record

log = logging.getLogger(__name__)

NOT_ASKED = ("seed", "logger", "published", "runtime")  # of a configuration: what makes no other cell
TARGET = "_target_"
OF_THE_TRAINER = ("precision", "gradient_clip_val")  # what makes one


class Cell(NamedTuple):
    """Runs of one task, model, lag and settings.

    Attributes:
        task, model, lag: of all of them.
        settings: those that other cells of the same task, model and lag have otherwise; empty where there are none.
        runs: one for each seed, of any status.
    """

    task: str
    model: str
    lag: int
    settings: str
    runs: list[Record]

    @property
    def finished(self) -> list[Record]:
        """The runs that came to their end."""
        return [run for run in self.runs if run["status"] == "finished"]

    @property
    def name(self) -> str:
        """The model, and the settings that tell it from others."""
        return f"{self.model} {self.settings}".strip()

    @property
    def solvable(self) -> bool:
        """Whether anything counts as solved."""
        return self.runs[0]["config"]["task"].get("solved_at") is not None


def find(folders: Iterable[str | Path]) -> list[Record]:
    """The records below the folders, each run once and with its `folder`.

    One that cannot be read or is there twice costs a warning.

    Raises FileNotFoundError where a folder has none that can be read.
    """
    found: dict[Path, Record] = {}
    for folder in map(Path, folders):
        here = {path.resolve(): record for path in sorted(folder.rglob(records.FILE)) for record in _readable(path)}
        if not here:
            raise FileNotFoundError(f"{folder} holds no run: there is no {records.FILE} below it that can be read")
        found |= here
    return _once(found)


def _once(found: dict[Path, Record]) -> list[Record]:
    """Of runs of one configuration and seed a single one: a finished one if there is."""
    kept: dict[Any, Record] = {}
    for path, record in found.items():
        run = record["config_hash"], record["model"], record["task"]
        if run in kept:
            log.warning("%s repeats another run; one of them counts", records.shown(path.parent))
        if run not in kept or record["status"] == "finished":
            kept[run] = record
    return list(kept.values())


def cells(runs: Sequence[Record]) -> list[Cell]:
    """The runs by task, model, lag and settings, in this order."""
    families: dict[tuple[str, str, int], dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        family = run["task"], run["model"], run["lag"]
        families[family][json.dumps(_asked(run), sort_keys=True)].append(run)
    return [
        Cell(*family, _difference(asked, families[family]), same)
        for family in sorted(families)
        for asked, same in families[family].items()
    ]


def _readable(path: Path) -> Iterator[Record]:
    try:
        yield records.read(path.parent) | {"folder": str(path.parent)}
    except ValueError as error:
        log.warning("left out: %s", records.first_line(error))


def _asked(run: Record) -> dict[str, Any]:
    asked = {key: value for key, value in run["config"].items() if key not in NOT_ASKED}
    asked["trainer"] = {key: asked["trainer"].get(key) for key in OF_THE_TRAINER}
    return {key: _whole(value) for key, value in flattened(asked).items()}


def _whole(value: Any) -> Any:
    """0.0 and 0 are one setting."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _difference(asked: str, family: Iterable[str]) -> str:
    """The settings of a cell that others of the same task, model and lag have otherwise.

    `lr` speaks for an `optimizer.lr` that is the same, and the name of what is made, `lag_mode=Uniform`, for those
    settings that others have no use for.
    """
    ours, all_of_them = json.loads(asked), [json.loads(other) for other in family]
    varies = [key for key in ours if any(_otherwise(other, ours, key) for other in all_of_them)]
    heads = {key: key.rpartition(".")[2] for key in varies}
    said = [key for key, head in heads.items() if key == head or head not in ours or ours[head] != ours[key]]
    return " ".join(f"{key.removesuffix('.' + TARGET)}={_short(key, ours[key])}" for key in said)


def _otherwise(other: dict[str, Any], ours: dict[str, Any], key: str) -> bool:
    """Whether a setting is another one there; one of something else is not to be compared."""
    made = f"{key.rpartition('.')[0]}.{TARGET}"
    same_kind = key == made or other.get(made) == ours.get(made)
    return same_kind and other.get(key) != ours[key]


def _short(key: str, value: Any) -> Any:
    """Of what is made, its name."""
    return str(value).rpartition(".")[2] if key.endswith(TARGET) else value


def flattened(node: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings under dotted names."""
    flat: dict[str, Any] = {}
    for key, value in node.items():
        flat |= flattened(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat
