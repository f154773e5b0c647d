"""Keep the records of a set of runs, small enough for a repository: python tools/keep.py FOLDER TO.

Of each record.json below FOLDER a copy goes to TO, under the same name relative to FOLDER: without the figures that no
table and no picture shows, and of the gradient the first and the last measurement alone.
"""

import sys
from pathlib import Path

from longlag.commands.errors import errors_in_one_line
from longlag.report.compact import keep_all


def main(arguments: list[str]) -> None:
    """Copy."""
    if len(arguments) != 2 or arguments[0].startswith("-"):
        sys.exit("usage: python tools/keep.py FOLDER TO")
    source, target = map(Path, arguments)
    print(f"{keep_all(source, target)} records in {target}")


if __name__ == "__main__":
    with errors_in_one_line():
        main(sys.argv[1:])
