"""A run that was stopped goes on and ends bit for bit like one that was not."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from helpers.command import TRAIN, train
from helpers.results import CASES, SMALL, assert_same
from longlag import records
from longlag.training.checkpoints import LAST, ONE_BEFORE
from longlag.training.learner import Learner

LONGER = (
    *("max_steps=12", "validation.every=2", "trainer.log_every_n_steps=3", "runtime.checkpoint_seconds=0"),
    *("eval.lags=[6,8]", "logger=csv"),
)


def fail_at(step: int, error: type[BaseException], patch: pytest.MonkeyPatch) -> None:
    """Makes training fail at a step, once."""
    training_step = Learner.training_step

    def failing(self: Learner, *arguments: object) -> torch.Tensor:
        if self.global_step == step:
            patch.undo()
            raise error("power cut")
        return training_step(self, *arguments)

    patch.setattr(Learner, "training_step", failing)


@pytest.mark.parametrize(
    ("case", "step"), [("synthetic", 1), ("synthetic", 11), ("text", 5), ("dropout", 7), ("curriculum", 8)]
)
def test_going_on_changes_nothing(run_small, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, case: str, step: int):
    overrides = (*CASES[case], *LONGER)
    whole, _ = run_small(*overrides, folder=tmp_path / "whole")
    fail_at(step, RuntimeError, monkeypatch)
    with pytest.raises(RuntimeError, match="power cut"):
        run_small(*overrides, folder=tmp_path / "stopped")
    assert records.read(tmp_path / "stopped")["status"] == "failed"
    assert (tmp_path / "stopped" / LAST).exists() == (step > 2)
    stopped, _ = run_small(*overrides, folder=tmp_path / "stopped", go_on=True)
    assert_same(stopped, whole)


@pytest.fixture(scope="module")
def begun(tmp_path_factory) -> Path:
    """A folder with a whole run, and one that was stopped with two checkpoints, of the steps 4 and 6."""
    folder = tmp_path_factory.mktemp("begun")
    assert train(folder, *SMALL, *LONGER, "hydra.run.dir=whole")[0] == 0
    with pytest.MonkeyPatch.context() as patch:
        fail_at(7, KeyboardInterrupt, patch)
        assert train(folder, *SMALL, *LONGER, "hydra.run.dir=stopped")[0] == 130
    return folder


class Malicious:
    """Its pickle makes a folder when it is read."""

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, ("harmed",)


def truncate(*names: str) -> Callable[[Path], None]:
    return lambda folder: [os.truncate(folder / name, 1000) for name in names] and None


def empty(folder: Path) -> None:
    (folder / LAST).write_bytes(b"")


def poison(folder: Path) -> None:
    torch.save({"state_dict": Malicious()}, folder / LAST)


@pytest.mark.parametrize(
    ("damage", "first_step"),
    [(truncate(), 8), (truncate(LAST), 6), (truncate(LAST, ONE_BEFORE), 2), (empty, 6), (poison, 6)],
    ids=["whole", "truncated", "both truncated", "empty", "malicious"],
)
def test_a_broken_checkpoint(begun: Path, tmp_path: Path, damage: Callable[[Path], None], first_step: int):
    stopped = Path(shutil.copytree(begun / "stopped", tmp_path / "stopped"))
    damage(stopped)
    code, said = train(tmp_path, "resume=stopped")
    assert code == 0, said
    assert [f"step {step}/12" in said for step in (2, 4, 6, 8)] == [step >= first_step for step in (2, 4, 6, 8)]
    assert ("stopped/last.ckpt cannot be read" in said) == (first_step < 8)
    assert_same(stopped, begun / "whole")
    assert [path.name for path in tmp_path.iterdir()] == ["stopped"]


def test_killed_at_any_moment(tmp_path: Path):
    long = ("max_steps=300", "validation.every=10", "task.solved_at=null")
    overrides = (*SMALL, *LONGER, *long)
    command = [sys.executable, str(TRAIN), *overrides, "hydra.run.dir=stopped"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not (tmp_path / "stopped" / LAST).exists():
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(delay := random.uniform(0, 0.5))
    finally:
        process.kill()
    assert process.wait() == -signal.SIGKILL, delay
    assert records.read(tmp_path / "stopped")["status"] == "interrupted"
    code, said = train(tmp_path, "resume=stopped")
    assert code == 0, said
    assert "step 10/300" not in said
    assert train(tmp_path, *overrides, "hydra.run.dir=whole")[0] == 0
    assert_same(tmp_path / "stopped", tmp_path / "whole")
