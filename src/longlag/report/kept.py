"""Copies of records that are small enough for a repository. Needs no torch."""

import json
from pathlib import Path
from typing import Any

from longlag.records import FILE, Record, write_text

POINT = ("lag", "accuracy", "loss", "chance", "sequences")


def keep(record: Record, folder: Path) -> None:
    """Write a small copy of a record into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / FILE, json.dumps(small(record), separators=(",", ":")) + "\n")


def small(record: Record) -> Record:
    """The record without what no table and no picture shows, and of the gradient its first and last measurement."""
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
