"""Copies of records that are small enough for a repository. Needs no torch."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from longlag.records import FILE, Record, write_text

Point = TypeVar("Point", bound=Mapping[str, object])
POINT = ("lag", "accuracy", "loss", "chance", "sequences")


def keep(record: Record, folder: Path) -> None:
    """Write a small copy of a record into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / FILE, json.dumps(small(record), separators=(",", ":")) + "\n")


def small(record: Record) -> Record:
    """The record without what no table and no picture shows, and of the gradient its first and last measurement."""
    steps = [one["step"] for one in record["gradient_scalars"]]
    ends = {*steps[:1], *steps[-1:]}
    small = record.copy()
    small["lag_curve"] = [_rounded(point, POINT) for point in record["lag_curve"]]
    small["gradient"] = [_rounded(point) for point in record["gradient"] if point["step"] in ends]
    small["gradient_scalars"] = [_rounded(one) for one in record["gradient_scalars"] if one["step"] in ends]
    small["learning_curve"] = [_rounded(point) for point in record["learning_curve"]]
    return small


def _rounded(point: Point, names: Sequence[str] | None = None) -> Point:
    """A point with six digits, and only what is named."""
    kept = ((name, value) for name, value in point.items() if names is None or name in names)
    rounded: Any = {name: float(f"{value:.6g}") if isinstance(value, float) else value for name, value in kept}
    return cast("Point", rounded)
