"""The search as a user runs it."""

import json
from pathlib import Path

import pytest

from helpers.command import train
from longlag import records
from longlag.commands.horizon import translated

SMALL = ("model.hidden_size=8", "validation.every=2", "validation.sequences=16", "batch_size=8")
ALONE = "hydra/launcher=in_process"
HERE = "hydra.sweep.dir=search"


def search(folder: Path, *arguments: str) -> tuple[int, str]:
    return train(folder, *translated(list(arguments)))


def test_short_names():
    assert translated(["max_lag=9", "workers=3", "lr=1"]) == [
        "-m", "experiment=horizon", "hydra.sweeper.max_lag=9", "hydra.launcher.workers=3", "lr=1",
    ]  # fmt: skip
    assert translated(["resume=there"]) == ["resume=there"]


def test_a_search(tmp_path: Path):
    """Both models are searched, each trial has its record, and what was done is not done again."""
    easy = "task.solved_at=1e-9"  # at any accuracy above 0
    given = [*SMALL, ALONE, "model=lstm,gru", "max_lag=9", "seeds=2", "budget.sequences=64", easy, HERE]
    code, said = search(tmp_path, *given)
    assert code == 0, said
    assert "model=gru" in said
    assert "memory_horizon of lstm on copy: 9 or more (every trial solved its lag up to 9; max_lag was reached)" in said
    found = json.loads((tmp_path / "search" / "horizon.json").read_text())
    assert [(one["model"], one["memory_horizon"], one["censored_by"]) for one in found] == [
        ("lstm", 9, "max_lag"), ("gru", 9, "max_lag"),
    ]  # fmt: skip
    there = sorted((tmp_path / "search").glob("*/record.json"))
    assert len(there) == sum(len(one["trials"]) for one in found) == 2 * 3  # lags 4, 8, 9; one of two seeds decides
    assert all(records.read(path.parent)["test"] == {} for path in there)  # the test stream is for chosen models
    before = {path: path.stat().st_mtime_ns for path in there}
    code, said = search(tmp_path, "resume=search")
    assert code == 0, said
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "search").glob("*/record.json")} == before
    assert json.loads((tmp_path / "search" / "horizon.json").read_text())[0]["memory_horizon"] == 9


def test_nothing_is_learned(tmp_path: Path):
    code, said = search(tmp_path, *SMALL, ALONE, "seeds=1", "first_lag=5", "budget.sequences=16", HERE)
    assert code == 0, said
    assert "memory_horizon of lstm on copy: below 5 (no trial solved its lag from 5 on); 1 trials" in said


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (["lag=10"], "lag=10: the search chooses lag and seed itself; give first_lag, max_lag or seeds"),
        (["seed=0,1"], "seed=0,1: the search chooses lag and seed itself; give first_lag, max_lag or seeds"),
        (["max_lag=3"], "hydra.sweeper.max_lag must be a whole number of at least 4, got 3"),
        (["seeds=0"], "hydra.sweeper.seeds must be a whole number of at least 1, got 0"),
        (["resolution=1"], "hydra.sweeper.resolution must be a number above 1, got 1"),
        (["hydra/launcher=basic"], "the search needs one of longlag's launchers, such as hydra/launcher=processes"),
        (["task=copy_arjovsky"], "lag must be at least payload + 1 = 11, got 4"),
    ],
)
def test_what_cannot_be_searched(tmp_path: Path, given: list[str], line: str):
    launcher = [] if given[0].startswith("hydra/launcher=") else [ALONE]
    code, said = search(tmp_path, *SMALL, *launcher, *given, HERE)
    assert code == 1
    assert line in said.splitlines()[-1]
    assert not list(tmp_path.rglob("record.json"))
