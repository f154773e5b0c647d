"""Copy the records of a set of runs in a compact form, to commit them: python tools/keep.py FOLDER TO.

Each record.json below FOLDER is copied to the same relative path below TO, without the values that no table and no plot
shows. Of the gradient over distance only the first and the last measurement are kept.
"""

import sys
from pathlib import Path

from longlag.commands.errors import errors_in_one_line
from longlag.report.compact import keep_all


def main(arguments: list[str]) -> None:
    """Copy the records of the folder `arguments[0]` to the folder `arguments[1]`."""
    if len(arguments) != 2 or arguments[0].startswith("-"):
        sys.exit("usage: python tools/keep.py FOLDER TO")
    source, target = map(Path, arguments)
    print(f"{keep_all(source, target)} records are now in {target}")


if __name__ == "__main__":
    with errors_in_one_line():
        main(sys.argv[1:])
