"""The table of a set of runs: a row for each group, over its seeds. Reads only records; needs no torch."""

import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, cast

from rich.markup import escape
from rich.table import Table

from longlag.records import Record
from longlag.report import markdown as md
from longlag.report import provenance
from longlag.report.groups import Group, groups
from longlag.report.statistics import (
    IN_WORDS,
    Estimate,
    accuracy,
    accuracy_horizon,
    mean,
    median,
    median_to_solve,
    success_rate,
)


class Change(NamedTuple):
    """Mean over seeds at the first and at the last gradient measurement; None if a seed has no value."""

    before: float | None
    after: float | None


COLUMNS = {  # each with the format of its numbers
    "task": "",
    "model": "",
    "lag": "d",
    "differs in": "",
    "settings, size": "",
    "runs": "d",
    "not finished": "d",
    "accuracy": ".3f",
    "chance": ".3f",
    "loss": ".4f",
    "solved": ".2f",
    "still improving": "",
    "steps to solve": ".0f",
    "accuracy horizon": ".0f",
    "log10 g(lag)/g(0)": ".1f",
    "decades per step": ".2g",
    "gradient horizon": ".0f",
    "parameters": "d",
    "seconds": ".0f",
}
WITH_BOUNDS = ("accuracy", "solved", "accuracy horizon")
CHANGES = ("log10 g(lag)/g(0)", "decades per step", "gradient horizon")
NUMBERS: dict[str, tuple[str, ...]] = {
    **{column: (column, f"{column}, low", f"{column}, high", f"{column}, bounds") for column in WITH_BOUNDS},
    **{column: (f"{column}, before", f"{column}, after") for column in CHANGES},
}
IMPROVING = "↗"  # the mark, in tables without a column for it
POINT = ("task", "model", "settings", "lag", "seed", "curve", "training step", "over", "at", "measure", "value")
CURVES: dict[str, tuple[str, tuple[str, ...]]] = {
    "lag_curve": ("lag", ("accuracy", "loss", "chance")),
    "gradient": ("distance", ("log10_norm", "log10_state_norm")),
    "learning_curve": ("step", ("accuracy", "loss")),
}
Row = dict[str, Any]  # by column: text, a number, an Estimate, a Change, or None


def rows(runs: Sequence[Record]) -> list[Row]:
    """A row for each group of runs."""
    every = groups(runs)
    said = provenance.column(every)
    return [_row(group) | {"settings, size": words} for group, words in zip(every, said, strict=True)]


def terminal(table: Sequence[Row]) -> Table:
    """The table for the terminal, with a line about its bounds. Columns without any entry are left out."""
    used = [column for column in COLUMNS if any(row[column] is not None for row in table)]
    shown = Table(*used, caption=escape(IN_WORDS), caption_justify="left")
    for row in table:
        shown.add_row(*(escape(text(row, column)) for column in used))
    return shown


def markdown(table: Sequence[Row]) -> str:
    """The table in Markdown, with a line about its bounds."""
    lines = md.table(list(COLUMNS), ([md.cell(text(row, column)) for column in COLUMNS] for row in table))
    return f"{lines}\n{IN_WORDS}.\n"


def comma_separated(table: Sequence[Row]) -> str:
    """The table as CSV with a header: plain numbers, with intervals and changes split into columns."""
    return md.comma_separated(list(numbers(dict.fromkeys(COLUMNS))), map(numbers, table))


def points(runs: Sequence[Record]) -> str:
    """Every point of every curve of every run as CSV, one point a line."""
    return md.comma_separated(list(POINT), (dict(zip(POINT, point, strict=True)) for point in _points(runs)))


def matrix(runs: Sequence[Record]) -> dict[tuple[str, str], dict[int, dict[int, Estimate]]]:
    """Mean accuracy over seeds: by task and model, then by trained lag, then by tested lag."""
    matrices: dict[tuple[str, str], dict[int, dict[int, Estimate]]] = {}
    for group in with_test(groups(runs)):
        matrices.setdefault((group.task, group.name), {})[group.lag] = tested_at(group.finished)
    return matrices


def with_test(groups: Iterable[Group]) -> list[Group]:
    """The groups whose finished runs were all tested; with `eval.sequences=0` a run is not tested."""
    return [group for group in groups if group.finished and all(run["test"] for run in group.finished)]


def tested_at(runs: Sequence[Record]) -> dict[int, Estimate]:
    """Mean accuracy of the runs of one group at every lag at which all of them were tested."""
    curves = [{point["lag"]: point["accuracy"] for point in run["lag_curve"]} for run in runs]
    return {lag: mean((curve[lag] for curve in curves), 0, 1) for lag in sorted(set.intersection(*map(set, curves)))}


def by_lag(runs: Sequence[Record]) -> str:
    """A Markdown table of the models of one task by trained lag: mean accuracy, and how many runs were solved.

    The last column is log10 g(lag)/g(0) at the largest lag before training. Raises ValueError unless the tested runs
    are all of one task.
    """
    finished = with_test(groups(runs))
    if len({group.task for group in finished}) != 1:
        raise ValueError("a table by lag needs tested runs of exactly one task")
    lags = sorted({group.lag for group in finished})
    rows = []
    for name in dict.fromkeys(group.name for group in finished):
        ours = {group.lag: group for group in finished if group.name == name}
        row = [score(accuracy(ours[lag].finished).value, ours[lag].finished) if lag in ours else "" for lag in lags]
        start = _change(ours[lags[-1]].finished, "log10_over_lag") if lags[-1] in ours else None
        rows.append([md.code(name), *row, "" if start is None or start.before is None else f"{start.before:.1f}"])
    lines = md.table(["model", *map(str, lags), f"log10 g({lags[-1]})/g(0)"], rows)
    return lines + explained(lines)


def explained(lines: str) -> str:
    """A line that explains the mark of `score`, if a Markdown table has it."""
    return f"\n{IMPROVING}: some of these runs were still improving when their budget was used up.\n" * (
        IMPROVING in lines
    )


def score(accuracy: float, runs: Sequence[Record]) -> str:
    """An entry of a table of accuracies: the mean, a mark if some runs were still improving, how many were solved."""
    mark = IMPROVING if _still_improving(runs) else ""
    return f"{accuracy:.2f}{mark} ({sum(run['solved'] for run in runs)}/{len(runs)})"


def terminal_matrix(title: str, trained: dict[int, dict[int, Estimate]]) -> Table:
    """An accuracy matrix for the terminal: a row for each trained lag, a column for each tested lag."""
    tested = sorted({lag for row in trained.values() for lag in row})
    shown = Table("trained at", *map(str, tested), title=escape(f"{title}: accuracy at each lag"), title_justify="left")
    for lag, row in trained.items():
        shown.add_row(str(lag), *(f"{row[at].value:.2f}" if at in row else "" for at in tested))
    return shown


def _points(runs: Sequence[Record]) -> Iterator[tuple[Any, ...]]:
    for group in groups(runs):
        for run in group.runs:
            which = group.task, group.model, group.settings, group.lag, run["seed"]
            for curve, (x, measures) in CURVES.items():
                for at in cast("Any", run)[curve]:
                    of = (at["step"] if curve == "gradient" else None,)
                    yield from ((*which, curve, *of, x, at[x], name, at[name]) for name in measures if name in at)


def _row(group: Group) -> Row:
    row = dict.fromkeys(COLUMNS) | {
        "task": group.task,
        "model": group.model,
        "lag": group.lag,
        "differs in": group.settings or None,
        "runs": len(group.finished),
        "not finished": len(group.runs) - len(group.finished) or None,
    }
    return row | _learned(group) | (_scored(group.finished) if with_test([group]) else {}) if group.finished else row


def _scored(done: Sequence[Record]) -> Row:
    """The columns that come from the test."""
    return {
        "accuracy": accuracy(done),
        "chance": done[0]["test"]["chance"],
        "loss": _mean(run["test"]["loss"] for run in done),
        "accuracy horizon": median(accuracy_horizon(run) or 0 for run in done),
    }


def _learned(group: Group) -> Row:
    """The columns that come from training."""
    done = group.finished
    return {
        "solved": success_rate(done) if group.solvable else None,
        "still improving": _still_improving(done),
        "steps to solve": median_to_solve(done) or math.inf if group.solvable else None,
        "log10 g(lag)/g(0)": _change(done, "log10_over_lag"),
        "decades per step": _change(done, "decades_per_step"),
        "gradient horizon": _change(done, "horizon"),
        "parameters": done[0]["cost"]["parameters"],
        "seconds": statistics.median(run["cost"]["seconds"] for run in done),
    }


def _still_improving(runs: Sequence[Record]) -> str | None:
    """How many of the runs were still improving at the end, in words; None if none was."""
    improving = sum(bool(run["still_improving"]) for run in runs)
    return f"{improving} of {len(runs)}" if improving else None


def _change(runs: Iterable[Record], name: str) -> Change | None:
    """A scalar of the gradient at its first and last measurement; None if no run measured it."""
    measured: list[Any] = [scalars for run in runs if (scalars := run["gradient_scalars"])]
    return Change(*(_mean(scalars[at][name] for scalars in measured) for at in (0, -1))) if measured else None


def _mean(values: Iterable[float | None]) -> float | None:
    every = list(values)
    told = [value for value in every if value is not None]
    return statistics.fmean(told) if len(told) == len(every) else None


def text(row: Row, column: str) -> str:
    """An entry as text for readers."""
    value = row[column]
    write: Callable[[float | None], str] = lambda number: "–" if number is None else format(number, COLUMNS[column])  # noqa: E731
    match value:
        case None | Change(None, None):
            return ""
        case Estimate():
            solved = f"{round(value.value * value.runs)}/{value.runs}"
            return (solved if column == "solved" else write(value.value)) + value.bounds(COLUMNS[column])
        case Change():
            return f"{write(value.before)} → {write(value.after)}"
        case math.inf:
            return "beyond the budget"
    return write(value)


def numbers(row: Row) -> Row:
    """A row for programs: an entry with several numbers becomes several columns."""
    flat: Row = {}
    for column, value in row.items():
        names = NUMBERS.get(column, (column,))
        parts: tuple[Any, ...] = value if isinstance(value, Change) else (value,)
        if isinstance(value, Estimate):
            parts = value.value, value.low, value.high, value.kind or None
        flat |= dict.fromkeys(names) | dict(zip(names, parts, strict=False))
    return flat
