"""The table of a set of runs: a row for each cell, over its seeds. Reads records alone; needs no torch."""

import csv
import io
import json
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from longlag import records
from longlag.records import Record
from longlag.report.statistics import Estimate, accuracy_horizon, mean, median_to_solve, success_rate

COLUMNS = (
    *("task", "model", "lag", "differs in", "runs", "not finished", "accuracy", "chance", "loss", "solved"),
    *("steps to solve", "accuracy horizon", "log10 g(lag)/g(0)", "parameters", "seconds"),
)
NOT_ASKED = ("seed", "logger", "runtime", "trainer")  # of a configuration: what makes no other cell
Row = dict[str, str]


def find(folders: Iterable[str | Path]) -> list[Record]:
    """The records below the folders. Raises FileNotFoundError where a folder has none, ValueError for a broken one."""
    found: dict[Path, Record] = {}
    for folder in map(Path, folders):
        paths = sorted(folder.rglob(records.FILE))
        if not paths:
            raise FileNotFoundError(f"{folder} holds no run: there is no {records.FILE} below it")
        found |= {path.resolve(): records.read(path.parent) for path in paths}
    return list(found.values())


def rows(runs: Sequence[Record]) -> list[Row]:
    """A row for each cell: runs of one configuration that differ in their seed."""
    families: dict[Any, dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        family = run["task"], run["model"], run["lag"]
        families[family][json.dumps(_asked(run), sort_keys=True)].append(run)
    table = []
    for family in sorted(families):
        cells = families[family]
        table += [_row(cell, _difference(asked, cells)) for asked, cell in cells.items()]
    return table


def terminal(table: Sequence[Row]) -> Table:
    """For the terminal; columns without any entry are left out."""
    used = [column for column in COLUMNS if any(row[column] for row in table)]
    shown = Table(*used)
    for row in table:
        shown.add_row(*(row[column] for column in used))
    return shown


def markdown(table: Sequence[Row]) -> str:
    """As a Markdown table."""
    lines = [COLUMNS, ["---"] * len(COLUMNS), *([row[column] for column in COLUMNS] for row in table)]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def comma_separated(table: Sequence[Row]) -> str:
    """As CSV, with a header."""
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return file.getvalue()


def _row(cell: Sequence[Record], difference: str) -> Row:
    done = [run for run in cell if run["status"] == "finished"]
    first = cell[0]
    row = dict.fromkeys(COLUMNS, "") | {
        "task": first["task"],
        "model": first["model"],
        "lag": str(first["lag"]),
        "differs in": difference,
        "runs": str(len(done)),
        "not finished": str(len(cell) - len(done) or ""),
    }
    return row | _measured(done) if done else row


def _measured(done: Sequence[Record]) -> Row:
    median = median_to_solve(done)
    solvable = done[0]["config"]["task"].get("solved_at") is not None
    gradients = [decades for run in done if (decades := _decades_over_lag(run)) is not None]
    horizons = [accuracy_horizon(run) or 0 for run in done]
    return {
        "accuracy": _with_interval(mean(run["test"]["accuracy"] for run in done), ".3f"),
        "chance": f"{done[0]['test']['chance']:.3f}",
        "loss": f"{statistics.fmean(run['test']['loss'] for run in done):.4f}",
        "solved": _with_interval(success_rate(done), ".2f") if solvable else "",
        "steps to solve": "" if not solvable else "beyond the budget" if median is None else f"{median:.0f}",
        "accuracy horizon": f"{statistics.median(horizons):.0f}",
        "log10 g(lag)/g(0)": f"{statistics.fmean(gradients):.1f}" if gradients else "",
        "parameters": str(done[0]["cost"]["parameters"]),
        "seconds": f"{statistics.median(run['cost']['seconds'] for run in done):.0f}",
    }


def _with_interval(estimate: Estimate, digits: str) -> str:
    if estimate.low is None or estimate.high is None:
        return format(estimate.value, digits)
    return f"{estimate.value:{digits}} [{estimate.low:{digits}}, {estimate.high:{digits}}]"


def _decades_over_lag(run: Record) -> float | None:
    """log10 g(lag) / g(0) at the first measurement, before training; None where one of them is below resolution."""
    if not run["gradient"]:
        return None
    start = min(point["step"] for point in run["gradient"])
    norms = {point["distance"]: point["log10_norm"] for point in run["gradient"] if point["step"] == start}
    near, far = norms[0], norms[max(distance for distance in norms if distance <= run["lag"])]
    return None if near is None or far is None else far - near


def _asked(run: Record) -> dict[str, Any]:
    return _flat({key: value for key, value in run["config"].items() if key not in NOT_ASKED})


def _difference(asked: str, cells: Iterable[str]) -> str:
    """The settings of a cell that others of the same task, model and lag have otherwise."""
    ours, all_of_them = json.loads(asked), [json.loads(other) for other in cells]
    varies = [key for key in ours if any(other.get(key) != ours[key] for other in all_of_them)]
    return " ".join(f"{key}={ours[key]}" for key in varies)


def _flat(node: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings under dotted names."""
    flat: dict[str, Any] = {}
    for key, value in node.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat
