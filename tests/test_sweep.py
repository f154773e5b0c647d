"""Sweeps: a cell's fault is its own, the table and the exit code tell the truth, and a resume completes the grid."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
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

    def exits0(self):
        os._exit(0)

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


def test_a_cell_that_fails_is_recorded_and_the_rest_go_on(alone):
    folder, code, said = alone
    assert code == 1
    assert statuses(folder) == {"fine": "finished", "raises": "failed", "diverges": "diverged"}
    assert len(found(folder)) == 3
    assert "[3 of 3 cells, 2 failed]" in said
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
    assert "[1 of 1 cells]" in said
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


def begin(folder: Path, *arguments: str) -> subprocess.Popen:
    """A sweep in a process group of its own."""
    path = os.pathsep.join([".", *filter(None, [os.environ.get("PYTHONPATH")])])
    env = os.environ | {"PYTHONPATH": path, "LONGLAG_ALLOW": "fatedcell"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([sys.executable, str(TRAIN), *arguments], cwd=folder, env=env, **pipes, process_group=0)


def end(group: int) -> None:
    """Whatever is left of it."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


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
