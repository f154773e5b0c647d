"""Markdown tables and CSV files. Text from records is escaped, so that it is never read as markup or a formula."""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

FORMULA = re.compile(r"[=@\t\r]|[+-](?!\d|\.\d)")  # the start of an entry that a spreadsheet would compute


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table. The entries must be escaped already: see `cell` and `code`."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def cell(text: str) -> str:
    """Text escaped as a table entry: on one line, so that it adds no HTML and no column."""
    return _one_line(text).replace("<", "&lt;").replace("|", "\\|")


def code(text: str) -> str:
    """Text escaped as a table entry and set as inline code."""
    plain = _one_line(text).replace("`", "'").replace("|", "\\|")
    return f"`{plain}`"


def comma_separated(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """CSV with a header. An apostrophe is put before text that a spreadsheet would take for a formula."""
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _harmless(value) for name, value in row.items()} for row in rows)
    return file.getvalue()


def _harmless(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return ("'" + value if FORMULA.match(value) else value).replace("\r", " ")  # the csv module leaves \r unquoted


def _one_line(text: str) -> str:
    return " ".join(text.split())
