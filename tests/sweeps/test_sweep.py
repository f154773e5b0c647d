"""Sweeps: a cell's fault is its own, the table and the exit code tell the truth, and a resume completes the grid."""

import os
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch

from helpers.command import train
from helpers.fated import PROCESSES, SMALL, SWEEP, begin, by_fate, end, found, is_gone, place, run, statuses, wait_for
from helpers.results import metrics, timeless
from longlag import records


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> tuple[Path, int, str]:
    """A sweep in this process."""
    folder = place(tmp_path_factory.mktemp("alone"), "raises", "diverges")
    return folder, *run(folder, *SWEEP, "model.fate=fine,raises,diverges")


def test_a_cell_that_fails_is_recorded_and_the_rest_go_on(alone):
    folder, code, said = alone
    assert code == 1
    assert statuses(folder) == {"fine": "finished", "raises": "failed", "diverges": "diverged"}
    assert len(found(folder)) == 3
    assert "[3 of 3 runs, 2 failed]" in said
    assert "longlag: 2 of 3 runs did not finish; resume=sweep tries again those that did not" in said
    assert "Traceback" not in said


def test_the_table_tells_the_truth(alone):
    _, _, said = alone
    table = said[said.index("┏") :]
    assert ["0.125" in line for line in table.splitlines() if "│ copy" in line] == [True, False, False]  # chance
    told = [line for line in table.splitlines() if line.startswith(("failed ", "diverged "))]
    assert len(told) == 2
    assert told[0] == "failed       sweep/1_fated_copy_lag6_seed0: RuntimeError: a fault of the core"
    assert "in two lines" not in said


def test_resume_retries_what_failed_and_keeps_what_ended(alone, tmp_path: Path):
    folder = Path(shutil.copytree(alone[0], tmp_path / "copy"))
    before = {path: path.stat().st_mtime_ns for path in folder.glob("sweep/*/*") if path.parent.name[0] in "02"}
    (folder / "raises").unlink()
    (folder / "diverges").unlink()
    code, said = run(folder, "--config-dir", "conf", "resume=sweep")
    assert code == 0, said
    assert "2 of 3 runs have ended already" in said
    assert "[1 of 1 runs]" in said
    assert statuses(folder) == {"fine": "finished", "raises": "finished", "diverges": "diverged"}
    assert len(found(folder)) == 3
    assert "step 2/6" not in said  # it went on from the checkpoint of step 2
    assert "step 4/6" in said
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_processes_give_what_one_process_gives_and_outlive_a_hard_exit(alone, tmp_path: Path):
    folder = place(tmp_path, "raises", "diverges", "exits")
    code, said = run(folder, *SWEEP, "model.fate=fine,raises,diverges,exits", *PROCESSES)
    assert code == 1
    assert "longlag: 3 of 4 runs did not finish" in said
    assert said.count("its process died (exit code 3)") == 2  # as it happened and at the end
    ours, theirs = by_fate(alone[0]), by_fate(folder)
    lost = theirs.pop("exits")
    assert (lost["status"], lost["error"]) == ("failed", "ChildProcessError: its process died (exit code 3)")
    assert {fate: timeless(record) for fate, record in theirs.items()} == {
        fate: timeless(record) for fate, record in ours.items()
    }
    assert "step 2/6" in (folder / "sweep" / "0_fated_copy_lag6_seed0" / "output.log").read_text()
    for number in range(3):
        folders = [where / "sweep" / f"{number}_fated_copy_lag6_seed0" for where in (alone[0], folder)]
        assert metrics(folders[0]) == metrics(folders[1])
        weights = [torch.load(where / "model.ckpt", weights_only=True)["state_dict"] for where in folders]
        for name, value in weights[0].items():
            assert torch.equal(value, weights[1][name]), name


@pytest.mark.slow
def test_cells_that_are_lost_in_other_ways(tmp_path: Path):
    folder = place(tmp_path, "hangs", "killed", "leaves")
    code, said = run(folder, *SWEEP, "model.fate=hangs,killed,leaves,fine", *PROCESSES, "hydra.launcher.timeout=25")
    assert code == 1
    assert statuses(folder) == {"fine": "finished", "leaves": "interrupted", "hangs": "failed", "killed": "failed"}
    errors = {fate: record["error"] for fate, record in by_fate(folder).items()}
    assert errors["hangs"] == "TimeoutError: it took longer than hydra.launcher.timeout=25 seconds"
    assert errors["killed"] == "ChildProcessError: its process died (SIGKILL), out of memory?"
    assert "longlag: 3 of 4 runs did not finish" in said
    for fate in ("hangs", "killed", "leaves"):
        (folder / fate).unlink()
    code, said = run(folder, "--config-dir", "conf", "resume=sweep")
    assert code == 0, said
    apart = {"config": None, "config_hash": None, "command": None}
    alike = [timeless(record) | apart for record in found(folder).values()]
    assert alike == [alike[0]] * 4


@pytest.mark.parametrize(
    "launcher",
    [pytest.param((), id="in_process"), pytest.param(PROCESSES, id="processes", marks=pytest.mark.slow)],
)
def test_a_folder_that_cannot_be_written(tmp_path: Path, launcher: tuple[str, ...]):
    folder = place(tmp_path)
    (folder / "sweep").mkdir()
    (folder / "sweep" / "0_fated_copy_lag6_seed0").write_text("not a folder")
    seeds = "seed=0,1" if not launcher else "seed=0"
    code, said = run(folder, *SWEEP, seeds, *launcher)
    assert code == 1
    assert [record["seed"] for record in found(folder).values()] == ([1] if not launcher else [])
    assert "no record    sweep/0_fated_copy_lag6_seed0: " in said
    assert "Traceback" not in said
    (folder / "sweep" / "0_fated_copy_lag6_seed0").unlink()
    assert run(folder, "--config-dir", "conf", "resume=sweep", "hydra/launcher=in_process")[0] == 0
    assert {record["status"] for record in found(folder).values()} == {"finished"}


def test_a_cell_that_another_process_is_at_work_on(tmp_path: Path):
    folder = place(tmp_path)
    with records.claimed(folder / "sweep" / "0_fated_copy_lag6_seed0"):
        code, said = run(folder, *SWEEP, "seed=0,1")
    assert code == 1
    assert "sweep/0_fated_copy_lag6_seed0 is locked by another process" in said
    code, said = run(folder, *SWEEP, "seed=0,1")
    assert code == 1
    assert "sweep/1_fated_copy_lag6_seed1 holds a run already" in said
    assert {name: record["status"] for name, record in found(folder).items()} == {
        f"{seed}_fated_copy_lag6_seed{seed}": "finished" for seed in (0, 1)
    }


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("workers=0", "workers must be a whole number of at least 1, got 0"),
        ("timeout=0", "timeout must be a number above 0"),
    ],
)
def test_settings_of_the_launcher(tmp_path: Path, argument: str, said: str):
    code, line = train(tmp_path, "-m", *SMALL, "hydra/launcher=processes", f"hydra.launcher.{argument}")
    assert code == 1
    assert said in line
    assert line.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("launcher", "send"),
    [
        pytest.param(PROCESSES, os.kill, id="processes"),
        pytest.param(PROCESSES, os.killpg, id="processes and their workers", marks=pytest.mark.slow),
        pytest.param((), os.kill, id="in_process", marks=pytest.mark.slow),
    ],
)
def test_terminated(tmp_path: Path, launcher: tuple[str, ...], send):
    folder = place(tmp_path, "hangs")
    process = begin(folder, *SWEEP, "model.fate=fine,hangs", *launcher)
    try:
        wait_for(folder / "sweep" / "1_fated_copy_lag6_seed0" / "last.ckpt", process)
        while statuses(folder).get("fine") != "finished":
            time.sleep(0.05)
        send(process.pid, signal.SIGTERM)
        time.sleep(0.5)
        (folder / "hangs").unlink()  # the step ends
        said, _ = process.communicate(timeout=60)
        assert is_gone(process.pid)
    finally:
        end(process.pid)
    assert process.returncode == 130
    assert statuses(folder) == {"fine": "finished", "hangs": "interrupted"}
    assert "┏" in said
    assert "interrupted  sweep/1_fated_copy_lag6_seed0: " in said
    assert said.endswith("longlag: stopped with 1 of 2 runs ended; go on with: python train.py resume=sweep\n")
    assert "Traceback" not in said
    code, said = run(folder, "--config-dir", "conf", "resume=sweep", "hydra/launcher=in_process")
    assert code == 0, said
    assert set(statuses(folder).values()) == {"finished"}
    assert "step 2/6" not in said  # it went on from its checkpoint


@pytest.mark.slow
def test_two_sweeps_into_one_folder(tmp_path: Path):
    folder = place(tmp_path)
    both = [begin(folder, *SWEEP, "seed=range(6)") for _ in range(2)]
    try:
        said = [one.communicate(timeout=120)[0] for one in both]
    finally:
        for one in both:
            end(one.pid)
    assert sum(one.returncode for one in both) >= 1
    assert "is locked by another process" in "".join(said) or "holds a run already" in "".join(said)
    assert not [words for words in said if "Traceback" in words]
    code, words = run(folder, "--config-dir", "conf", "resume=sweep")
    assert code == 0, words
    assert [(name[0], record["seed"], record["status"]) for name, record in found(folder).items()] == [
        (str(seed), seed, "finished") for seed in range(6)
    ]
