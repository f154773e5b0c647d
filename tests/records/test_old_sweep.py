"""A sweep that longlag 0.1 began (schema 1, version 1 of the streams) is gone on with today.

`sweep_of_0_1` holds what it left: seed 0 finished, seed 1 stopped after step 5 with a checkpoint of step 4.
"""

import shutil
from pathlib import Path

import pytest

from helpers.command import train
from longlag import records

THERE = Path(__file__).parent / "sweep_of_0_1"
FINISHED, STOPPED = (f"{number}_lstm_copy_lag6_seed{number}" for number in (0, 1))
WHOLE = {  # what 0.1 came to for seed 1 without a stop
    "losses": [2.107484817504883, 2.0933334827423096, 2.0789577960968018, 2.066290855407715],
    "test": 2.017249584197998,
}
INIT = "model.init=chrono"  # what lstm had by default then; chrono_agnostic would be other runs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(THERE, tmp_path / "sweep")
    return tmp_path


def test_what_finished_is_kept_and_what_was_stopped_goes_on_to_the_same_end(folder: Path):
    finished = folder / "sweep" / FINISHED
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in finished.iterdir()}
    code, said = train(folder, "resume=sweep", INIT)
    assert code == 0, said
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in finished.iterdir()} == before
    record = records.read(folder / "sweep" / STOPPED)
    assert (record["status"], record["schema"], record["config"]["stream"]) == ("finished", 2, 1)
    assert [point["loss"] for point in record["learning_curve"]] == pytest.approx(WHOLE["losses"], rel=1e-6)
    assert record["test"]["loss"] == pytest.approx(WHOLE["test"], rel=1e-6)
    assert sorted(path.name for path in (folder / "sweep").iterdir() if path.is_dir()) == [FINISHED, STOPPED]


def test_a_wider_grid_trains_the_new_ones_alone_and_with_the_streams_of_today(folder: Path):
    code, said = train(folder, "resume=sweep", INIT, "seed=0,1,2")
    assert code == 0, said
    found = {path.parent.name: records.read(path.parent) for path in (folder / "sweep").glob("*/record.json")}
    assert {name: record["config"]["stream"] for name, record in found.items()} == {
        FINISHED: 1, STOPPED: 1, "2_lstm_copy_lag6_seed2": 2,
    }  # fmt: skip
    assert "3 of 3" in train(folder, "resume=sweep", INIT, "seed=0,1,2")[1]


def test_a_single_run_goes_on_too(folder: Path):
    code, said = train(folder, f"resume=sweep/{STOPPED}")
    assert code == 0, said
    assert records.read(folder / "sweep" / STOPPED)["test"]["loss"] == pytest.approx(WHOLE["test"], rel=1e-6)
    assert not (folder / "outputs").exists()


def test_the_group_is_one(folder: Path):
    from longlag.report.groups import find, groups

    train(folder, "resume=sweep", INIT, "seed=0,1,2")
    (group,) = groups(find([folder / "sweep"]))
    assert len(group.finished) == 3
