"""Markdown tables and CSV files in which whatever stands in a record is text and nothing else."""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

FORMULA = re.compile(r"[=@\t\r]|[+-](?!\d|\.\d)")  # how a cell begins that a spreadsheet would compute


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are Markdown already: see `cell` and `code`."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def cell(text: str) -> str:
    """Text as a cell of a table: without line ends, and with neither HTML nor another column in it."""
    return _one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")


def code(text: str) -> str:
    """The same in the type of code."""
    plain = _one_line(text).replace("`", "'").replace("|", "\\|")
    return f"`{plain}`"


def comma_separated(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """CSV with a header; what a spreadsheet would take for a formula begins with an apostrophe."""
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _harmless(value) for name, value in row.items()} for row in rows)
    return file.getvalue()


def _harmless(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return ("'" + value if FORMULA.match(value) else value).replace("\r", " ")  # the csv module would not quote it


def _one_line(text: str) -> str:
    return " ".join(text.split())
