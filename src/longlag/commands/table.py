"""The table of a set of runs: longlag table FOLDER…

Every record.json below the folders is read; runs that differ in the seed only form a group and share a row. Accuracy is
the mean over seeds with its 95% interval (percentile bootstrap); `solved` is the share of solved runs with its Wilson
interval; steps to solve are the median over all runs, unsolved ones included. The accuracy horizon is the largest lag
at which a trained network still reaches an accuracy of .9, as the median over seeds. The columns on the gradient are
means over seeds, before training → after: log10 of the fraction that is left after the lag, the decades lost per step,
and the largest distance at which a thousandth is left.
With --markdown - or --csv -, this format goes to standard output instead.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from longlag.files import write_text
from longlag.records import Record
from longlag.report import comparison, pivot, table
from longlag.report.groups import find, groups
from longlag.report.plot import save
from longlag.report.terminal import wide_console


def main(words: Sequence[str]) -> None:
    """Read the records, print the table, and write the files that were asked for."""
    parser = argparse.ArgumentParser(
        prog="longlag table", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", metavar="FOLDER", help="a run, a sweep, or any folder of them")
    parser.add_argument("--matrix", action="store_true", help="also show the accuracy by trained lag and tested lag")
    parser.add_argument(
        "--rows", metavar="KEYS", help="settings for the rows of a pivot table, such as model,model.init"
    )
    parser.add_argument("--columns", metavar="KEYS", help="settings for its columns, such as lag_mode")
    parser.add_argument("--figure", metavar="FILE", help="draw accuracy and gradient over lags (.png, .pdf or .svg)")
    parser.add_argument("--markdown", metavar="FILE", help="write a Markdown table; - is standard output")
    parser.add_argument("--csv", metavar="FILE", help="write comma-separated values; - is standard output")
    arguments = parser.parse_args(words)
    runs = find(arguments.folders)
    if arguments.rows or arguments.columns:
        _set_against(runs, arguments)
        return
    rows = table.rows(runs)
    if "-" not in (arguments.markdown, arguments.csv):
        console = wide_console()
        console.print(table.terminal(rows))
        if arguments.matrix:
            for (task, name), trained in table.matrix(runs).items():
                console.print(table.terminal_matrix(f"{name} on {task}", trained))
    if arguments.figure:
        save(comparison.gap(groups(runs)), Path(arguments.figure))
    for target, form in ((arguments.markdown, table.markdown), (arguments.csv, table.comma_separated)):
        _write(target, form, rows)


def _set_against(runs: Sequence[Record], arguments: argparse.Namespace) -> None:
    if not (arguments.rows and arguments.columns):
        raise ValueError("--rows and --columns make a pivot table together; give both")
    made = pivot.pivot(runs, arguments.rows.split(","), arguments.columns.split(","))
    if arguments.markdown == "-":
        sys.stdout.write(pivot.markdown(made))
        return
    wide_console().print(pivot.terminal(made))
    if arguments.markdown:
        write_text(Path(arguments.markdown), pivot.markdown(made))


def _write(target: str | None, form: Callable[[Sequence[table.Row]], str], rows: Sequence[table.Row]) -> None:
    if target == "-":
        sys.stdout.write(form(rows))
    elif target:
        write_text(Path(target), form(rows))
