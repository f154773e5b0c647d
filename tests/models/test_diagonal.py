"""The full command on a diagonal of model x task pairs: every model at least once, every task at least once."""

import csv
import logging
import sys
from itertools import cycle
from pathlib import Path

import pytest

from helpers.command import MODELS, TASKS
from longlag import records
from longlag.cli import main

LONGER = max(len(MODELS), len(TASKS))
DIAGONAL = [pair for pair, _ in zip(zip(cycle(MODELS), cycle(TASKS), strict=False), range(LONGER), strict=False)]
SMALL = [
    "lag=24",
    "max_steps=20",
    "validation.every=10",
    "validation.sequences=16",
    "eval.sequences=16",
    "batch_size=8",
]
EXAMPLES = {"forecasts": "forecasts.png", "sample": "sample.txt"}
MEASURES = ("loss", "accuracy")


@pytest.mark.parametrize(("model", "task"), DIAGONAL)
def test_command(model: str, task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging.root, "handlers", [])  # Hydra sets logging up for a process of its own
    small = [*SMALL, "model.hidden_size=8", "logger=csv", "hydra.run.dir=run"]
    monkeypatch.setattr(sys, "argv", ["train.py", f"model={model}", f"task={task}", *small])
    main(["train", *sys.argv[1:]])
    folder = tmp_path / "run"
    record = records.read(folder)
    assert (record["status"], record["model"], record["task"]) == ("finished", model, task)
    assert record["cost"]["steps"] == 20 or record["solved"]
    examples = {EXAMPLES[name] for name in record["example"]}
    files = {"record.json", "model.ckpt", "lag_curve.png", "gradient.png", "metrics.csv"}
    assert {path.name for path in folder.iterdir()} == files | examples
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    expected = {f"{split}/{name}" for split in ("train", "val") for name in MEASURES}
    assert expected | {"step", "train/gradient_norm", "train/lr", "val/chance"} <= set(rows[0])
    for split in ("train", "val"):
        assert next(float(row["step"]) for row in rows if row[f"{split}/loss"]) == 10


def test_diagonal_is_complete():
    assert {model for model, _ in DIAGONAL} == set(MODELS)
    assert {task for _, task in DIAGONAL} == set(TASKS)
