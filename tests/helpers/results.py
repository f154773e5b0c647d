"""What two runs must have in common: their records, weights and metrics, without the times they took."""

import csv
from pathlib import Path

import torch

from longlag import records
from longlag.training.checkpoints import WEIGHTS

TIMES = (
    "seconds",
    "validation_seconds",
    "probe_seconds",
    "check_seconds",
    "test_seconds",
    "tokens_per_second",
    "peak_memory_bytes",
    "computing_seconds",
)


def repeatable(record: records.Record) -> records.Record:
    """What a second run of the same configuration must give again."""
    kept = {key: value for key, value in record.items() if key not in ("environment", "started", "ended")}
    return kept | {"cost": {key: value for key, value in record["cost"].items() if key not in TIMES}}


def saved_weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / records.WEIGHTS, weights_only=True)["state_dict"]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


SMALL = ("task=copy", "lag=6", "validation.sequences=16", "eval.sequences=16", "model.hidden_size=8", "trainer=cpu")


CASES = {
    "synthetic": ("task=copy", "lag=6"),
    "text": ("task=text", "lag=8", "task.sample=20"),
    "dropout": ("task=copy", "lag=6", "model.num_layers=2", "model.dropout=0.5"),
    "curriculum": ("task=copy", "lag=12", "lag_mode=curriculum", "lag_mode.threshold=0.1", "lr_schedule=cosine"),
}


def timeless(record: dict) -> dict:
    """What does not depend on how fast it ran."""
    cost = {name: value for name, value in record["cost"].items() if name not in TIMES}
    apart = dict.fromkeys(("seconds_to_solve", "environment", "started", "ended", "artifacts"))
    return record | {"cost": cost, **apart}


def metrics(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def assert_same(stopped: Path, whole: Path) -> None:
    """Weights, metrics, record and names of files."""
    assert timeless(records.read(stopped)) == timeless(records.read(whole))
    assert metrics(stopped) == metrics(whole)
    saved = [torch.load(folder / WEIGHTS, weights_only=True) for folder in (whole, stopped)]
    assert saved[0]["global_step"] == saved[1]["global_step"]
    for name, value in saved[0]["state_dict"].items():
        assert torch.equal(value, saved[1]["state_dict"][name]), name
    assert {path.name for path in whole.iterdir()} == {path.name for path in stopped.iterdir()}
