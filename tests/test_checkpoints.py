"""A run that was stopped goes on and ends bit for bit like one that was not."""

import csv
from pathlib import Path

import pytest
import torch

from longlag import records
from longlag.checkpoints import LAST, WEIGHTS
from longlag.learner import Learner

TIMINGS = ("seconds", "validation_seconds", "probe_seconds", "test_seconds", "tokens_per_second", "peak_memory_bytes")
LONGER = (
    "max_steps=24",
    "validation.every=4",
    "trainer.log_every_n_steps=3",
    "runtime.checkpoint_seconds=0",
    "logger=csv",
)
CASES = {
    "synthetic": ("task=copy", "lag=6"),
    "text": ("task=text", "lag=8", "task.sample=20"),
    "dropout": ("task=copy", "lag=6", "model.num_layers=2", "model.dropout=0.5"),
    "curriculum": ("task=copy", "lag=20", "lag_mode=curriculum", "lag_mode.threshold=0.1", "lr_schedule=cosine"),
}


def timeless(record: dict) -> dict:
    """What does not depend on how fast it ran."""
    cost = {name: value for name, value in record["cost"].items() if name not in TIMINGS}
    return record | {"cost": cost, "seconds_to_solve": None, "environment": None}


def metrics(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch):
    """Makes training fail at a step, once."""

    def arm(step: int) -> None:
        training_step = Learner.training_step

        def failing(self: Learner, *arguments: object) -> torch.Tensor:
            if self.global_step == step:
                monkeypatch.undo()
                raise RuntimeError("power cut")
            return training_step(self, *arguments)

        monkeypatch.setattr(Learner, "training_step", failing)

    return arm


@pytest.mark.parametrize("step", [2, 9, 22])
@pytest.mark.parametrize("case", CASES)
def test_going_on_changes_nothing(run_small, stop_at, tmp_path: Path, case: str, step: int):
    overrides = (*CASES[case], *LONGER)
    whole, expected = run_small(*overrides, folder=tmp_path / "whole")
    stop_at(step)
    with pytest.raises(RuntimeError, match="power cut"):
        run_small(*overrides, folder=tmp_path / "stopped")
    assert records.read(tmp_path / "stopped")["status"] == "failed"
    assert (tmp_path / "stopped" / LAST).exists() == (step > 4)
    stopped, record = run_small(*overrides, folder=tmp_path / "stopped", go_on=True)
    assert timeless(record) == timeless(expected)
    assert metrics(stopped) == metrics(whole)
    saved = [torch.load(folder / WEIGHTS, weights_only=True) for folder in (whole, stopped)]
    for name, value in saved[0]["state_dict"].items():
        assert torch.equal(value, saved[1]["state_dict"][name]), name
    assert {path.name for path in whole.iterdir()} == {path.name for path in stopped.iterdir()}
