"""Keep the records of a set of runs, small enough for a repository: python scripts/keep.py FOLDER TO.

Of each record.json below FOLDER a copy goes to TO, under the same folder name: without the figures that no table and no
picture shows, and of the gradient the first and the last measurement alone.
"""

import json
import sys
from pathlib import Path
from typing import Any

from longlag.cli import errors_in_one_line
from longlag.records import FILE, Record, read, write_text

POINT = ("lag", "accuracy", "loss", "chance", "sequences")


def small(record: Record) -> Record:
    """The record without what is not needed to show it."""
    ends = {
        end["step"]
        for end in (record["gradient_scalars"] or [{"step": None}])[:: max(1, len(record["gradient_scalars"]) - 1)]
    }
    return record | {
        "lag_curve": [_kept(point, POINT) for point in record["lag_curve"]],
        "gradient": [_rounded(point) for point in record["gradient"] if point["step"] in ends],
        "gradient_scalars": [_rounded(one) for one in record["gradient_scalars"] if one["step"] in ends],
        "learning_curve": [_rounded(point) for point in record["learning_curve"]],
    }


def _kept(point: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return _rounded({name: point[name] for name in names if name in point})


def _rounded(point: dict[str, Any]) -> dict[str, Any]:
    return {name: float(f"{value:.6g}") if isinstance(value, float) else value for name, value in point.items()}


def main(arguments: list[str]) -> None:
    """Copy."""
    if len(arguments) != 2 or arguments[0].startswith("-"):
        sys.exit("usage: python scripts/keep.py FOLDER TO")
    source, target = map(Path, arguments)
    paths = sorted(source.rglob(FILE))
    if not paths:
        raise FileNotFoundError(f"{source} holds no run: there is no {FILE} below it")
    for path in paths:
        folder = target / path.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / FILE, json.dumps(small(read(path.parent)), separators=(",", ":")) + "\n")
    print(f"{len(paths)} records in {target}")


if __name__ == "__main__":
    with errors_in_one_line():
        main(sys.argv[1:])
