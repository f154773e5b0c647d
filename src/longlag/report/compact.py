"""Writes copies of records that are small enough for a Git repository. Needs no torch."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from longlag.files import shown, write_text
from longlag.records import FILE, Record, read
from longlag.records.store import stored
from longlag.report.groups import found

Point = TypeVar("Point", bound=Mapping[str, object])
POINT = ("lag", "accuracy", "loss", "chance", "sequences")


def keep_all(source: Path, target: Path) -> int:
    """Write small copies of all records below `source` to the same relative paths below `target`.

    A warning is logged for each record that cannot be read.

    Returns:
        The number of copies.

    Raises:
        FileNotFoundError: if no record below `source` can be read.
        ValueError: if one folder lies in the other: copies would replace originals or be found as originals later.
        FileExistsError: if a copy would replace the record of another run.
    """
    here, there = source.resolve(), target.resolve()
    if here.is_relative_to(there) or there.is_relative_to(here):
        raise ValueError(f"{target} and {source}: one of these folders lies in the other; choose a separate folder")
    copies = {there / Path(str(run["folder"])).resolve().relative_to(here): run for run in found(source)}
    for folder, run in copies.items():  # check all of them before the first one is written
        _refuse_another(run, folder)
    for folder, run in copies.items():
        keep(run, folder)
    return len(copies)


def _refuse_another(run: Record, folder: Path) -> None:
    """Raise FileExistsError if the folder holds the record of another run."""
    if (folder / FILE).exists() and read(folder)["config_hash"] != run["config_hash"]:
        raise FileExistsError(f"{shown(folder)} holds another run already; choose another folder")


def keep(record: Record, folder: Path) -> None:
    """Write a small copy of a record into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / FILE, json.dumps(stored(small(record)), separators=(",", ":")) + "\n")


def small(record: Record) -> Record:
    """The record without data that no table or picture shows, and with only the first and last gradient measurement."""
    steps = [one["step"] for one in record["gradient_scalars"]]
    ends = {*steps[:1], *steps[-1:]}
    small = record.copy()
    small["lag_curve"] = [_rounded(point, POINT) for point in record["lag_curve"]]
    small["gradient"] = [_rounded(point) for point in record["gradient"] if point["step"] in ends]
    small["gradient_scalars"] = [_rounded(one) for one in record["gradient_scalars"] if one["step"] in ends]
    small["learning_curve"] = [_rounded(point) for point in record["learning_curve"]]
    return small


def _rounded(point: Point, names: Sequence[str] | None = None) -> Point:
    """The point with floats rounded to six significant digits; with `names`, only these keys of it."""
    kept = ((name, value) for name, value in point.items() if names is None or name in names)
    rounded: Any = {name: float(f"{value:.6g}") if isinstance(value, float) else value for name, value in kept}
    return cast("Point", rounded)
