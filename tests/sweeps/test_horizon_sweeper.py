"""The search as a user runs it."""

import json
from pathlib import Path

import pytest

from helpers.command import compose, train
from longlag import records
from longlag.commands.horizon import translated

SMALL = ("model.hidden_size=8", "validation.every=2", "validation.sequences=16", "batch_size=8")
ALONE = "hydra/launcher=in_process"
HERE = "hydra.sweep.dir=search"
EASY = "task.solved_at=1e-9"  # at any accuracy above 0


def search(folder: Path, *arguments: str) -> tuple[int, str]:
    return train(folder, *translated(list(arguments)))


def results(folder: Path) -> list[dict]:
    return json.loads((folder / "search" / "horizon.json").read_text())


def test_short_names():
    assert translated(["max_lag=9", "workers=3", "lr=1"]) == [
        "-m", "experiment=horizon", "hydra.sweeper.max_lag=9", "hydra.launcher.workers=3", "lr=1",
    ]  # fmt: skip
    assert translated(["resume=there"]) == ["resume=there"]
    assert translated(["over=task.payload=1,2"])[2:] == ["hydra.sweeper.over=task.payload", "task.payload=1,2"]


def test_seconds_are_a_limit_on_cost():
    """Ten minutes: for most searches the sequences end a trial, as they should."""
    assert compose("experiment=horizon").budget.seconds == 600


def test_a_search(tmp_path: Path):
    """Both models are searched, each trial has its record, and what was done is not done again."""
    given = [
        *SMALL,
        ALONE,
        "model=lstm,gru",
        "model.init=chrono",
        "max_lag=5",
        "trials=9",
        "budget.sequences=64",
        EASY,
        HERE,
    ]
    code, said = search(tmp_path, *given)
    assert code == 0, said
    assert "model=gru" in said
    assert "memory_horizon of lstm on copy: at least 5 (95% interval 5 or more; largest lag solved 5; max_lag" in said
    found = results(tmp_path)
    assert [(one["model"], one["interval"], one["at_least"]) for one in found] == [
        ("lstm", [5, None], True), ("gru", [5, None], True),
    ]  # fmt: skip
    there = sorted((tmp_path / "search").glob("*/record.json"))
    assert len(there) == sum(len(one["trials"]) for one in found) <= 2 * 9
    assert (tmp_path / "search" / "horizon.png").stat().st_size > 0
    assert all(records.read(path.parent)["test"] == {} for path in there)  # the test stream is for chosen models
    before = {path: path.stat().st_mtime_ns for path in there}
    code, said = search(tmp_path, "resume=search")
    assert code == 0, said
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "search").glob("*/record.json")} == before
    assert [one["trials"] for one in results(tmp_path)] == [one["trials"] for one in found]


def test_nothing_is_learned(tmp_path: Path):
    code, said = search(tmp_path, *SMALL, ALONE, "first_lag=5", "budget.sequences=16", HERE)
    assert code == 0, said
    assert "memory_horizon of lstm on copy: below 5 (95% interval 5 or less; nothing was solved;" in said


def test_trials_that_reach_their_limit_of_seconds_are_censored(tmp_path: Path):
    code, said = search(tmp_path, *SMALL, ALONE, "trials=3", "budget.sequences=6400", "budget.seconds=1e-6", HERE)
    assert code == 0, said
    (found,) = results(tmp_path)
    assert {told["outcome"] for told in found["trials"]} == {"censored"}
    assert "memory_horizon of lstm on copy: not known" in said
    assert "trials censored: budget.seconds" in said


def test_a_trial_that_failed_is_tried_again(tmp_path: Path):
    once = [*SMALL, ALONE, "trials=3", "max_lag=5", "budget.sequences=64", EASY, HERE]
    assert search(tmp_path, *once)[0] == 0
    broken = next((tmp_path / "search").glob("*/record.json"))
    broken.write_text(json.dumps(json.loads(broken.read_text()) | {"status": "failed", "error": "lost"}))
    assert search(tmp_path, "resume=search")[0] == 0
    assert json.loads(broken.read_text())["status"] == "finished"


def test_over_a_setting(tmp_path: Path):
    """A search for each value, drawn against it; a search that is resumed knows what it went over."""
    rest = [word for word in SMALL if "hidden_size" not in word]
    given = [*rest, ALONE, "over=model.hidden_size=8,16", "trials=3", "max_lag=5", "budget.sequences=64", EASY, HERE]
    code, said = search(tmp_path, *given)
    assert code == 0, said
    assert [one["over"] for one in results(tmp_path)] == [{"model.hidden_size": 8}, {"model.hidden_size": 16}]
    picture = tmp_path / "search" / "horizon_over.png"
    picture.unlink()
    assert search(tmp_path, "resume=search")[0] == 0
    assert picture.exists()


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (["lag=10"], "lag=10: the search chooses lag and seed itself; give first_lag, max_lag or trials"),
        (["seed=0,1"], "seed=0,1: the search chooses lag and seed itself; give first_lag, max_lag or trials"),
        (["max_lag=3"], "hydra.sweeper.max_lag must be a whole number of at least 4, got 3"),
        (["trials=0"], "hydra.sweeper.trials must be a whole number of at least 1, got 0"),
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
