"""A pivot table of runs by two sets of settings, to see which settings matter. Reads only records; needs no torch."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich.markup import escape
from rich.table import Table

from longlag.records import Record
from longlag.records.identity import TARGET, flattened
from longlag.report import markdown as md
from longlag.report.statistics import mean
from longlag.report.table import explained, score


class Pivot(NamedTuple):
    """A pivot table of runs.

    Attributes:
        down, across: names of the settings whose values label the rows, and of those that label the columns.
        columns: the values of the settings `across`, one tuple for each column.
        rows: for each row the values of the settings `down`, and an entry for each column: the mean accuracy and how
            many of the runs were solved.
    """

    down: Sequence[str]
    across: Sequence[str]
    columns: list[tuple[str, ...]]
    rows: list[tuple[tuple[str, ...], list[str]]]


def pivot(runs: Iterable[Record], down: Sequence[str], across: Sequence[str]) -> Pivot:
    """Mean accuracy over the finished runs of each table entry, with rows and columns sorted by their values.

    Args:
        runs: records of runs. For a run that was not tested, the last validation accuracy is used.
        down, across: names of settings, or `model` or `task`. A setting that describes an object, such as `lag_mode`,
            counts as the name of its class.

    Raises:
        ValueError: if no run has finished, or a run has no such setting.
    """
    places: dict[tuple[tuple[str, ...], tuple[str, ...]], list[Record]] = {}
    for run in runs:
        if run["status"] == "finished":
            place = tuple(tuple(_value(run, name) for name in names) for names in (down, across))
            places.setdefault((place[0], place[1]), []).append(run)
    if not places:
        raise ValueError("no run has finished: there is nothing to compare")
    rows, columns = (sorted({place[side] for place in places}, key=_in_order) for side in (0, 1))
    entries = {row: [_entry(places.get((row, column), [])) for column in columns] for row in rows}
    return Pivot(down, across, columns, list(entries.items()))


def _in_order(values: tuple[str, ...]) -> list[tuple[float, str]]:
    """Sort key: numbers in ascending order, then names."""
    return [(float(value) if value.replace(".", "", 1).isdigit() else math.inf, value) for value in values]


def terminal(table: Pivot) -> Table:
    """The table for the terminal."""
    shown = Table(*table.down, *(escape(title) for title in _titles(table)))
    for names, entries in table.rows:
        shown.add_row(*map(escape, [*names, *entries]))
    return shown


def markdown(table: Pivot) -> str:
    """The table in Markdown."""
    header = map(md.cell, [*table.down, *_titles(table)])
    lines = md.table(list(header), ([*map(md.code, names), *map(md.cell, entries)] for names, entries in table.rows))
    return lines + explained(lines)


def _titles(table: Pivot) -> list[str]:
    named = [
        [f"{name.rpartition('.')[2]} {value}" for name, value in zip(table.across, column, strict=True)]
        for column in table.columns
    ]
    return [", ".join(column) for column in named]


def _value(run: Record, name: str) -> str:
    """The value of a setting as text; for a setting that describes an object, the name of its class."""
    if name in ("model", "task"):
        return run["model"] if name == "model" else run["task"]
    settings = flattened(run["config"])
    made = settings.get(f"{name}.{TARGET}")
    if made is None and name not in settings:
        raise ValueError(f"{name}: the runs have no such setting")
    return str(made).rpartition(".")[2].lower() if made else str(settings[name])


def _entry(runs: list[Record]) -> str:
    if not runs:
        return ""
    return score(mean(map(_accuracy, runs)).value, runs)


def _accuracy(run: Record) -> float:
    return float(run["test"]["accuracy"] if run["test"] else run["learning_curve"][-1]["accuracy"])
