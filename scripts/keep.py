"""Keep the records of a set of runs, small enough for a repository: python scripts/keep.py FOLDER TO.

Of each record.json below FOLDER a copy goes to TO, under the same folder name: without the figures that no table and no
picture shows, and of the gradient the first and the last measurement alone.
"""

import sys
from pathlib import Path

from longlag.cli import errors_in_one_line
from longlag.records import FILE, read
from longlag.report.kept import keep


def main(arguments: list[str]) -> None:
    """Copy."""
    if len(arguments) != 2 or arguments[0].startswith("-"):
        sys.exit("usage: python scripts/keep.py FOLDER TO")
    source, target = map(Path, arguments)
    paths = sorted(source.rglob(FILE))
    if not paths:
        raise FileNotFoundError(f"{source} holds no run: there is no {FILE} below it")
    for path in paths:
        keep(read(path.parent), target / path.parent.name)
    print(f"{len(paths)} records in {target}")


if __name__ == "__main__":
    with errors_in_one_line():
        main(sys.argv[1:])
