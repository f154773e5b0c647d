"""Finds records in folders and divides them into groups of runs that differ in the seed only. Needs no torch."""

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


class Group(NamedTuple):
    """A group: the runs with the same task, model, lag and settings, which differ in the seed only.

    Attributes:
        task, model, lag: the values that all runs of the group share.
        settings: the settings that tell this group from others of the same task and model, in words; may be empty.
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
        """The model, followed by the settings that tell this group from others."""
        return f"{self.model} {self.settings}".strip()

    @property
    def solvable(self) -> bool:
        """Whether the task defines an accuracy at which a run counts as solved."""
        return self.runs[0]["config"]["task"].get("solved_at") is not None


def find(folders: Iterable[str | Path]) -> list[Record]:
    """The records below the folders, with `folder` set; of runs with the same identity only one is kept.

    A warning is logged for each record that cannot be read and for each repeated run.

    Raises FileNotFoundError if a folder has no record that can be read.
    """
    every = {Path(str(run["folder"])).resolve(): run for folder in folders for run in found(Path(folder))}
    return _once(every)


def found(folder: Path) -> list[Record]:
    """All records below a folder, with `folder` set. A warning is logged for each record that cannot be read.

    Raises FileNotFoundError if no record below the folder can be read.
    """
    here = [record for path in sorted(folder.rglob(records.FILE)) for record in _readable(path)]
    if not here:
        raise FileNotFoundError(f"{folder} holds no run: there is no {records.FILE} below it that can be read")
    return here


def _once(found: dict[Path, Record]) -> list[Record]:
    """Keep one record for each identity: a finished one if there is one."""
    kept: dict[Any, Record] = {}
    for record in found.values():
        run = record["config_hash"], record["model"], record["task"]
        if run not in kept:
            kept[run] = record
            continue
        left, counts = (kept[run], record) if record["status"] == "finished" else (record, kept[run])
        kept[run] = counts
        log.warning("%s is left out: it holds the same run as %s", _place(left), _place(counts))
    return list(kept.values())


def _place(record: Record) -> str:
    return str(shown(Path(str(record["folder"]))))


def _readable(path: Path) -> Iterator[Record]:
    try:
        record = records.read(path.parent)
        record["folder"] = str(path.parent)
        yield record
    except (OSError, ValueError) as error:
        log.warning("left out: %s", first_line(error))


def groups(runs: Sequence[Record]) -> list[Group]:
    """Group the runs, and sort the groups by task, model, lag and settings."""
    families: dict[tuple[str, str], dict[tuple[int, str], list[Record]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        same = json.dumps(identity.group(run["config"]), sort_keys=True)
        families[run["task"], run["model"]][run["lag"], same].append(run)
    return [
        Group(*family, lag, words, families[family][lag, same])
        for family in sorted(families)
        for (lag, same), words in sorted(names(families[family]).items(), key=lambda named: named[0][0])
    ]


def names(family: Iterable[tuple[int, str]]) -> dict[tuple[int, str], str]:
    """Name the groups of one task and model by the settings that tell them apart.

    No two groups of the same lag have the same name. A setting that differs between groups of one lag is named at every
    lag, so that the name of a curve is the same at all its lags. A setting that only changes with the lag is not named.

    Args:
        family: the groups, each as its lag and its settings (JSON text).

    Returns:
        The name of each group.
    """
    groups = {(lag, same): json.loads(same) for lag, same in family}
    at_lag: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for (lag, _), ours in groups.items():
        at_lag[lag].append(ours)
    differ = sorted({key for same_lag in at_lag.values() for key in identity.differing(same_lag)})
    short = {group: _in_words(ours, differ, groups.values()) for group, ours in groups.items()}
    if len({(lag, words) for (lag, _), words in short.items()}) == len(short):
        return short
    # Two groups of one lag have the same short name: give every setting in full.
    return {group: " ".join(_exactly(key, ours) for key in differ) for group, ours in groups.items()}


def _exactly(key: str, ours: Mapping[str, Any]) -> str:
    return f"{key}={json.dumps(ours.get(key))}"


def _in_words(ours: Mapping[str, Any], differ: Sequence[str], groups: Iterable[Mapping[str, Any]]) -> str:
    """The settings that differ, in a short form.

    `optimizer.lr` is left out where it repeats `lr`. A class name, as in `lag_mode=Uniform`, also stands for the
    settings of that class: they are named only if another group with the same class has other values.
    """
    every = list(groups)
    said = [key for key in differ if not _implied(key, ours) and any(_otherwise(other, ours, key) for other in every)]
    return " ".join(f"{key.removesuffix('.' + TARGET)}={_value(key, ours)}" for key in said)


def _implied(key: str, ours: Mapping[str, Any]) -> bool:
    """Whether a setting repeats another one, as `optimizer.lr` repeats `lr`."""
    head = key.rpartition(".")[2]
    return head != key and head in ours and ours[head] == ours.get(key)


def _otherwise(other: Mapping[str, Any], ours: Mapping[str, Any], key: str) -> bool:
    """Whether a setting has another value in `other`. The arguments of different classes are not compared."""
    made = f"{key.rpartition('.')[0]}.{TARGET}"
    same_kind = key == made or other.get(made) == ours.get(made)
    return same_kind and other.get(key) != ours.get(key)


def _value(key: str, ours: Mapping[str, Any]) -> str:
    """The value in words: the name of a class without its module, or the neutral value of an absent setting."""
    value = ours.get(key, identity.neutral(key))
    return str(value).rpartition(".")[2] if key.endswith(TARGET) and value is not None else _plain(value)


def _plain(value: Any) -> str:
    return "null" if value is None else str(value)
