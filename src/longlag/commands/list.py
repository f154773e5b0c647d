"""What there is to choose from: longlag list models | tasks | experiments | published

Prints a line for each model, task, experiment or published value: its name, and what its YAML file says about it.
`longlag train model=NAME`, `task=NAME` or `experiment=NAME` takes one; published values are experiment=published/NAME.
"""

import argparse
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from longlag.commands.help import first_comment
from longlag.report.terminal import wide_console
from longlag.settings import CONF

FOLDERS = {"models": "model", "tasks": "task", "experiments": "experiment", "published": "experiment/published"}


def main(words: Sequence[str]) -> None:
    """Print the list."""
    parser = argparse.ArgumentParser(
        prog="longlag list", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=FOLDERS, metavar="WHAT", help=", ".join(FOLDERS))
    arguments = parser.parse_args(words)
    lines = Table.grid(padding=(0, 2))
    for path in sorted((CONF / FOLDERS[arguments.what]).glob("*.yaml")):
        lines.add_row(path.stem, Text(first_comment(path)))
    wide_console().print(lines)
