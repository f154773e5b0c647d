"""Copies of records that are small enough for a repository. Needs no torch."""

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
    """Write small copies of all records below a folder to another one, under the same relative names; how many.

    A record that cannot be read costs a warning.

    Raises:
        FileNotFoundError: where there is no record that can be read.
        ValueError: where one of the folders lies in the other: the copies would replace, or become, originals.
        FileExistsError: where a copy would replace the record of another run.
    """
    here, there = source.resolve(), target.resolve()
    if here.is_relative_to(there) or there.is_relative_to(here):
        raise ValueError(f"{target} and {source} lie in each other: keep the records in a folder apart")
    copies = {there / Path(str(run["folder"])).resolve().relative_to(here): run for run in found(source)}
    for folder, run in copies.items():
        _refuse_another(run, folder)
    for folder, run in copies.items():
        keep(run, folder)
    return len(copies)


def _refuse_another(run: Record, folder: Path) -> None:
    """Raise FileExistsError where the folder keeps another run."""
    if (folder / FILE).exists() and read(folder)["config_hash"] != run["config_hash"]:
        raise FileExistsError(f"{shown(folder)} keeps another run already; choose another folder")


def keep(record: Record, folder: Path) -> None:
    """Write a small copy of a record into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / FILE, json.dumps(stored(small(record)), separators=(",", ":")) + "\n")


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
