"""Sweeps: a cell's fault is its own, the table and the exit code tell the truth, and a resume completes the grid."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import train
from test_checkpoints import metrics, timeless
from test_cli import TRAIN

from longlag import records

CORE = '''
import os, signal, sys, time
from torch import nn


class Fated(nn.Module):
    """An RNN that meets its fate at the third training step, as long as a file of that name is there."""

    def __init__(self, input_size, hidden_size, fate):
        super().__init__()
        self.hidden_size, self.fate, self.steps = hidden_size, fate, 0
        self.rnn = nn.RNN(input_size, hidden_size, batch_first=True)

    def forward(self, x):
        self.steps += self.training
        if self.steps == 3 and self.training and os.path.exists(self.fate):
            getattr(self, self.fate)()
        return self.rnn(x)[0]

    def raises(self):
        raise RuntimeError("a fault of the core\\nin two lines")

    def diverges(self):
        nn.init.constant_(self.rnn.weight_hh_l0, float("nan"))

    def exits(self):
        os._exit(3)

    def leaves(self):
        sys.exit("enough")

    def killed(self):
        os.kill(os.getpid(), signal.SIGKILL)

    def hangs(self):
        while os.path.exists("hangs"):
            time.sleep(0.1)
'''
YAML = """
# @package _global_
lr: 0.01
model:
  _target_: fatedcell.Fated
  hidden_size: 8
  fate: fine
"""
SMALL = (
    *("task=copy", "lag=6", "max_steps=6", "validation.every=2", "validation.sequences=16", "eval.sequences=16"),
    *("eval.lags=[6]", "runtime.checkpoint_seconds=0", "logger=csv", "trainer=cpu"),
)
SWEEP = ("-m", "--config-dir", "conf", "model=fated", *SMALL, "hydra.sweep.dir=sweep")
PROCESSES = ("hydra/launcher=processes", "hydra.launcher.workers=2")


def place(folder: Path, *fates: str) -> Path:
    """Put the core, its YAML and what brings the fates about into a folder."""
    (folder / "conf" / "model").mkdir(parents=True)
    (folder / "conf" / "model" / "fated.yaml").write_text(YAML)
    (folder / "fatedcell.py").write_text(CORE)
    for fate in fates:
        (folder / fate).touch()
    return folder


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    """`train`, with the core in the folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LONGLAG_ALLOW", "fatedcell")
        patch.syspath_prepend(folder)  # spawned workers inherit it
        patch.delitem(sys.modules, "fatedcell", raising=False)
        return train(folder, *arguments)


def found(folder: Path) -> dict[str, dict]:
    """The records of a sweep by folder."""
    return {path.parent.name: json.loads(path.read_text()) for path in sorted((folder / "sweep").glob("*/record.json"))}


def by_fate(folder: Path) -> dict[str, dict]:
    return {record["config"]["model"]["fate"]: record for record in found(folder).values()}


def statuses(folder: Path) -> dict[str, str]:
    return {fate: record["status"] for fate, record in by_fate(folder).items()}


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> tuple[Path, int, str]:
    """A sweep in this process."""
    folder = place(tmp_path_factory.mktemp("alone"), "raises", "diverges")
    return folder, *run(folder, *SWEEP, "model.fate=fine,raises,diverges")


@pytest.fixture(scope="module")
def together(tmp_path_factory) -> tuple[Path, int, str]:
    """The same in two processes, with cells that would end this one."""
    folder = place(tmp_path_factory.mktemp("together"), "raises", "diverges", "exits")
    return folder, *run(folder, *SWEEP, "model.fate=fine,raises,diverges,exits", *PROCESSES)


@pytest.fixture(scope="module")
def lost(tmp_path_factory) -> tuple[Path, int, str]:
    """Cells that are lost in every other way."""
    folder = place(tmp_path_factory.mktemp("lost"), "hangs", "killed", "leaves")
    sweep = (*SWEEP, "model.fate=hangs,killed,leaves,fine", *PROCESSES, "hydra.launcher.timeout=25")
    return folder, *run(folder, *sweep)


def test_a_cell_that_fails_is_recorded_and_the_rest_go_on(alone):
    folder, code, said = alone
    assert code == 1
    assert statuses(folder) == {"fine": "finished", "raises": "failed", "diverges": "diverged"}
    assert len(found(folder)) == 3
    assert "[3 of 3 cells, 2 failed]" in said
    assert "longlag: 2 of 3 cells did not come to their end; resume=sweep tries those again that did not" in said
    assert "Traceback" not in said


def test_the_table_tells_the_truth(alone):
    _, _, said = alone
    table = said[said.index("┏") :]
    assert ["0.125" in line for line in table.splitlines() if "│ copy" in line] == [True, False, False]  # chance
    told = [line for line in table.splitlines() if line.startswith(("failed ", "diverged "))]
    assert len(told) == 2
    assert told[0] == "failed       sweep/1_fated_copy_lag6_seed0: RuntimeError: a fault of the core"
    assert "in two lines" not in said


def test_processes_give_what_one_process_gives(alone, together):
    ours, theirs = by_fate(alone[0]), by_fate(together[0])
    assert set(theirs) == {*ours, "exits"}
    for number, fate in enumerate(ours):
        assert timeless(theirs[fate]) == timeless(ours[fate]), fate
        assert theirs[fate]["environment"] == ours[fate]["environment"]
        folders = [folder / "sweep" / f"{number}_fated_copy_lag6_seed0" for folder in (alone[0], together[0])]
        assert metrics(folders[0]) == metrics(folders[1])
        weights = [torch.load(folder / "model.ckpt", weights_only=True)["state_dict"] for folder in folders]
        for name, value in weights[0].items():
            assert torch.equal(value, weights[1][name]), name


def test_a_hard_exit_is_one_cells_failure(together):
    folder, code, said = together
    assert code == 1
    assert statuses(folder) == {"fine": "finished", "raises": "failed", "diverges": "diverged", "exits": "failed"}
    assert by_fate(folder)["exits"]["error"] == "ChildProcessError: its process died (exit code 3)"
    assert "longlag: 3 of 4 cells did not come to their end" in said
    assert said.count("its process died (exit code 3)") == 2  # as it happened and at the end
    assert "step 2/6" in (folder / "sweep" / "0_fated_copy_lag6_seed0" / "output.log").read_text()


def test_resume_retries_what_failed_and_keeps_what_ended(together):
    folder, _, _ = together
    for fate in ("raises", "exits", "diverges"):
        (folder / fate).unlink()
    before = {path: path.stat().st_mtime_ns for path in sorted((folder / "sweep").rglob("*")) if path.is_file()}
    code, said = run(folder, "--config-dir", "conf", "resume=sweep", "hydra/launcher=in_process")
    assert code == 0, said
    assert "2 of 4 cells have come to their end already" in said
    assert statuses(folder) == {"fine": "finished", "raises": "finished", "diverges": "diverged", "exits": "finished"}
    assert len(found(folder)) == 4
    assert "step 2/6" not in said  # they went on from the checkpoint of step 2
    assert said.count("step 4/6") == 2
    for path, time_ns in before.items():
        if any(f"/{number}_" in str(path) for number in (0, 2)):
            assert path.stat().st_mtime_ns == time_ns, path


@pytest.mark.slow
def test_cells_that_are_lost(lost):
    folder, code, said = lost
    assert code == 1
    assert statuses(folder) == {"fine": "finished", "leaves": "interrupted", "hangs": "failed", "killed": "failed"}
    errors = {fate: record["error"] for fate, record in by_fate(folder).items()}
    assert errors["hangs"] == "TimeoutError: it took longer than hydra.launcher.timeout=25 seconds"
    assert errors["killed"] == "ChildProcessError: its process died (SIGKILL), for want of memory?"
    assert "longlag: 3 of 4 cells did not come to their end" in said


@pytest.mark.slow
def test_what_was_lost_is_completed(lost):
    folder, _, _ = lost
    for fate in ("hangs", "killed", "leaves"):
        (folder / fate).unlink()
    code, said = run(folder, "--config-dir", "conf", "resume=sweep")
    assert code == 0, said
    assert set(statuses(folder).values()) == {"finished"}
    alike = [
        timeless(record) | {"config": None, "config_hash": None, "command": None} for record in found(folder).values()
    ]
    assert alike == [alike[0]] * 4


@pytest.mark.parametrize("launcher", [(), PROCESSES], ids=["in_process", "processes"])
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
    assert "sweep/0_fated_copy_lag6_seed0: another process is at work on this run" in said
    code, said = run(folder, *SWEEP, "seed=0,1")
    assert code == 1
    assert "sweep/1_fated_copy_lag6_seed1 holds a run already" in said
    assert {name: record["status"] for name, record in found(folder).items()} == {
        f"{seed}_fated_copy_lag6_seed{seed}": "finished" for seed in (0, 1)
    }


@pytest.mark.parametrize(
    ("argument", "said"),
    [("workers=0", "workers must be a whole number of at least 1, got 0"), ("timeout=0", "timeout must be above 0")],
)
def test_settings_of_the_launcher(tmp_path: Path, argument: str, said: str):
    code, line = train(tmp_path, "-m", *SMALL, "hydra/launcher=processes", f"hydra.launcher.{argument}")
    assert code == 1
    assert said in line
    assert line.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def begin(folder: Path, *arguments: str) -> subprocess.Popen:
    """A sweep in a process group of its own."""
    env = os.environ | {"PYTHONPATH": ".", "LONGLAG_ALLOW": "fatedcell"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([sys.executable, str(TRAIN), *arguments], cwd=folder, env=env, **pipes, process_group=0)


def wait_for(path: Path, process: subprocess.Popen) -> None:
    while not path.exists():
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.05)


def is_gone(group: int, seconds: float = 10) -> bool:
    """Whether no process of the group is left, or will soon be: Python's resource tracker ends after the others."""
    for _ in range(round(seconds / 0.1)):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


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
        said, _ = process.communicate(timeout=60)
        assert is_gone(process.pid)
    finally:
        process.kill()
    assert process.returncode == 130
    assert statuses(folder) == {"fine": "finished", "hangs": "interrupted"}
    assert "┏" in said
    assert "interrupted  sweep/1_fated_copy_lag6_seed0: " in said
    assert said.endswith("longlag: interrupted\n")
    assert "Traceback" not in said
    (folder / "hangs").unlink()
    code, said = run(folder, "--config-dir", "conf", "resume=sweep", "hydra/launcher=in_process")
    assert code == 0, said
    assert set(statuses(folder).values()) == {"finished"}
    assert "step 2/6" not in said  # it went on from its checkpoint


@pytest.mark.slow
def test_two_sweeps_into_one_folder(tmp_path: Path):
    folder = place(tmp_path)
    sweeps = [begin(folder, *SWEEP, "seed=range(6)") for _ in range(2)]
    said = [sweep.communicate(timeout=120)[0] for sweep in sweeps]
    assert sum(sweep.returncode for sweep in sweeps) >= 1
    assert "is at work on this run" in "".join(said) or "holds a run already" in "".join(said)
    assert not [words for words in said if "Traceback" in words]
    code, words = run(folder, "--config-dir", "conf", "resume=sweep")
    assert code == 0, words
    assert [(name[0], record["seed"], record["status"]) for name, record in found(folder).items()] == [
        (str(seed), seed, "finished") for seed in range(6)
    ]
