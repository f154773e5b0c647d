"""The table of a set of runs: python scripts/table.py FOLDER… [--markdown FILE] [--csv FILE].

Every record.json below the folders is read; runs that differ in their seed alone share a row. Accuracy is the mean over
seeds with its 95% interval (percentile bootstrap), `solved` the share of solved runs with Wilson's, steps to solve the
median over all runs, unsolved ones included. With --markdown - or --csv - that form goes to standard output instead.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from longlag.cli import errors_in_one_line
from longlag.records import write_text
from longlag.report import table


def main() -> None:
    """Read, show, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", metavar="FOLDER", help="a run, a sweep, or any folder of them")
    parser.add_argument("--markdown", metavar="FILE", help="write a Markdown table; - is standard output")
    parser.add_argument("--csv", metavar="FILE", help="write comma-separated values; - is standard output")
    arguments = parser.parse_args()
    rows = table.rows(table.find(arguments.folders))
    if "-" not in (arguments.markdown, arguments.csv):
        Console(width=None if sys.stdout.isatty() else 200).print(table.terminal(rows))
    for target, form in ((arguments.markdown, table.markdown), (arguments.csv, table.comma_separated)):
        _write(target, form, rows)


def _write(target: str | None, form: Callable[[Sequence[table.Row]], str], rows: Sequence[table.Row]) -> None:
    if target == "-":
        sys.stdout.write(form(rows))
    elif target:
        write_text(Path(target), form(rows))


if __name__ == "__main__":
    with errors_in_one_line():
        main()
