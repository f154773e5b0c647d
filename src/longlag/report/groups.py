"""The groups of a set of runs: runs that differ in their seed alone. Needs no torch."""

import json
import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from longlag import records
from longlag.files import first_line, shown
from longlag.records import Record, identity
from longlag.records.identity import TARGET

log = logging.getLogger(__name__)


class Cell(NamedTuple):
    """Runs of one task, model, lag and settings.

    Attributes:
        task, model, lag: of all of them.
        settings: those that other groups of the same task and model have otherwise; empty where there are none.
        runs: one for each seed, of any status.
    """

    task: str
    model: str
    lag: int
    settings: str
    runs: list[Record]

    @property
    def finished(self) -> list[Record]:
        """The runs that finished."""
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
    every = {Path(str(run["folder"])).resolve(): run for folder in folders for run in found(Path(folder))}
    return _once(every)


def found(folder: Path) -> list[Record]:
    """All records below a folder, each with its `folder`; one that cannot be read costs a warning.

    Raises FileNotFoundError where there is none that can be read.
    """
    here = [record for path in sorted(folder.rglob(records.FILE)) for record in _readable(path)]
    if not here:
        raise FileNotFoundError(f"{folder} holds no run: there is no {records.FILE} below it that can be read")
    return here


def _once(found: dict[Path, Record]) -> list[Record]:
    """Of runs of one identity a single one: a finished one if there is."""
    kept: dict[Any, Record] = {}
    for path, record in found.items():
        run = record["config_hash"], record["model"], record["task"]
        if run in kept:
            log.warning("%s repeats another run; one of them counts", shown(path))
        if run not in kept or record["status"] == "finished":
            kept[run] = record
    return list(kept.values())


def _readable(path: Path) -> Iterator[Record]:
    try:
        record = records.read(path.parent)
        record["folder"] = str(path.parent)
        yield record
    except (OSError, ValueError) as error:
        log.warning("left out: %s", first_line(error))


def cells(runs: Sequence[Record]) -> list[Cell]:
    """The runs by task, model, lag and settings, in this order."""
    families: dict[tuple[str, str], dict[tuple[int, str], list[Record]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        same = json.dumps(identity.group(run["config"]), sort_keys=True)
        families[run["task"], run["model"]][run["lag"], same].append(run)
    return [
        Cell(*family, lag, words, families[family][lag, same])
        for family in sorted(families)
        for (lag, same), words in sorted(names(families[family]).items(), key=lambda named: named[0][0])
    ]


def names(family: Iterable[tuple[int, str]]) -> dict[tuple[int, str], str]:
    """Groups of one task and model, by lag and identity (JSON), each with the settings that tell it from the others.

    At one lag no two have the same name. What differs at one lag is named at all of them, so that a setting has one
    name along a curve; what only changes with the lag, as the lag itself does, is not.
    """
    groups = {(lag, same): json.loads(same) for lag, same in family}
    at_lag: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for (lag, _), ours in groups.items():
        at_lag[lag].append(ours)
    differ = sorted({key for same_lag in at_lag.values() for key in identity.differing(same_lag)})
    short = {group: _in_words(ours, differ, groups.values()) for group, ours in groups.items()}
    if len({(lag, words) for (lag, _), words in short.items()}) == len(short):
        return short
    return {group: " ".join(_exactly(key, ours) for key in differ) for group, ours in groups.items()}


def _exactly(key: str, ours: Mapping[str, Any]) -> str:
    return f"{key}={json.dumps(ours.get(key))}"


def _in_words(ours: Mapping[str, Any], differ: Sequence[str], groups: Iterable[Mapping[str, Any]]) -> str:
    """The settings that differ, as short as they are clear.

    `lr` speaks for an `optimizer.lr` that is the same, and the name of what is made, `lag_mode=Uniform`, for those
    settings that others have no use for.
    """
    every = list(groups)
    said = [key for key in differ if not _implied(key, ours) and any(_otherwise(other, ours, key) for other in every)]
    return " ".join(f"{key.removesuffix('.' + TARGET)}={_value(key, ours)}" for key in said)


def _implied(key: str, ours: Mapping[str, Any]) -> bool:
    """Whether a setting repeats another one, as `optimizer.lr` repeats `lr`."""
    head = key.rpartition(".")[2]
    return head != key and head in ours and ours[head] == ours.get(key)


def _otherwise(other: Mapping[str, Any], ours: Mapping[str, Any], key: str) -> bool:
    """Whether a setting is another one there; a setting of something else is not to be compared."""
    made = f"{key.rpartition('.')[0]}.{TARGET}"
    same_kind = key == made or other.get(made) == ours.get(made)
    return same_kind and other.get(key) != ours.get(key)


def _value(key: str, ours: Mapping[str, Any]) -> str:
    """Of what is made, its name; where a setting is left out, the value at which it does nothing."""
    value = ours.get(key, identity.neutral(key))
    return str(value).rpartition(".")[2] if key.endswith(TARGET) and value is not None else _plain(value)


def _plain(value: Any) -> str:
    return "null" if value is None else str(value)
