"""Ctrl-C and SIGTERM: a run stops after the step at hand, with a checkpoint of that step, and says how it goes on."""

import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from helpers.command import ENDLESS, start, train
from helpers.fated import DDP, PROCESSES, begin, end, wait_for
from helpers.results import CASES, SMALL, assert_same
from longlag import records
from longlag.training.checkpoints import LAST
from longlag.training.learner import Learner

STEPS = ("max_steps=12", "validation.every=4", "trainer.log_every_n_steps=3", "eval.lags=[6,8]", "logger=csv")
RUN = (*SMALL, *STEPS, "hydra.run.dir=run")
COPY = (*RUN, *CASES["synthetic"])


@pytest.fixture
def signal_at(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sends signals to this process within the training step that follows the given number of steps, once."""

    def arm(step: int, *numbers: signal.Signals) -> None:
        training_step, left = Learner.training_step, list(numbers)

        def signalling(self: Learner, *arguments: object) -> torch.Tensor:
            while self.global_step == step and left:
                signal.raise_signal(left.pop())
            return training_step(self, *arguments)

        monkeypatch.setattr(Learner, "training_step", signalling)

    return arm


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Callable[[str], Path]:
    """The folder of a run of a case that nobody stopped."""
    made: dict[str, Path] = {}

    def of(case: str) -> Path:
        if case not in made:
            folder = tmp_path_factory.mktemp(case)
            assert train(folder, *RUN, *CASES[case])[0] == 0
            made[case] = folder / "run"
        return made[case]

    return of


@pytest.mark.parametrize(
    ("case", "during", "stopped"),
    [
        *[("synthetic", step, step + 1) for step in range(12)],
        *[(case, step, step + 1) for case in ("text", "dropout", "curriculum") for step in (1, 4, 6, 7)],
    ],
)
def test_a_run_that_is_stopped_at_any_step_goes_on_from_there(
    whole, signal_at, tmp_path: Path, case: str, during: int, stopped: int
):
    signal_at(during, signal.SIGINT)
    code, said = train(tmp_path, *RUN, *CASES[case])
    assert code == 130
    assert said.endswith(f"longlag: stopped at step {stopped} of 12; go on with: python train.py resume=run\n")
    assert torch.load(tmp_path / "run" / LAST, weights_only=True)["global_step"] == stopped
    assert records.read(tmp_path / "run")["status"] == "interrupted"
    code, said = train(tmp_path, "resume=run")
    assert code == 0
    assert_same(tmp_path / "run", whole(case))


def test_a_run_is_stopped_more_than_once(whole, signal_at, tmp_path: Path):
    """Also before it has taken a step: its checkpoint is not replaced then, and counts what it counted."""
    signal_at(5, signal.SIGINT)
    assert train(tmp_path, *COPY)[0] == 130
    for step, stopped in ((6, 7), (7, 8), (8, 9)):
        signal_at(step, signal.SIGTERM)
        code, said = train(tmp_path, "resume=run")
        assert code == 130
        assert f"stopped at step {stopped} of 12; go on with" in said
    assert train(tmp_path, "resume=run")[0] == 0
    assert_same(tmp_path / "run", whole("synthetic"))


def test_a_second_signal_stops_at_once(whole, signal_at, tmp_path: Path):
    signal_at(6, signal.SIGINT, signal.SIGINT)
    code, said = train(tmp_path, *COPY, "runtime.checkpoint_seconds=0")
    assert code == 130
    again = "stopped at step 6 of 12; go on with: python train.py resume=run, from the checkpoint of step 4"
    assert said.endswith(f"longlag: {again}\n")
    assert {path.name for path in (tmp_path / "run").iterdir() if path.name[0] == "."} == set()
    assert train(tmp_path, "resume=run", "runtime.checkpoint_seconds=60")[0] == 0
    assert_same_but_for_the_interval(tmp_path / "run", Path(shutil.copytree(whole("synthetic"), tmp_path / "whole")))


def assert_same_but_for_the_interval(stopped: Path, whole: Path) -> None:
    """`runtime.checkpoint_seconds` makes no other run."""
    for folder in (stopped, whole):
        record = records.read(folder)
        record["config"]["runtime"], record["command"] = {}, None
        records.write(record, folder)
    assert_same(stopped, whole)


def test_without_a_checkpoint_it_says_that_it_begins_again(whole, signal_at, tmp_path: Path):
    signal_at(2, signal.SIGINT, signal.SIGINT)
    code, said = train(tmp_path, *COPY)
    again = "go on with: python train.py resume=run, from step 0: there is no checkpoint"
    assert (code, said.splitlines()[-1]) == (130, f"longlag: stopped at step 2 of 12; {again}")
    code, said = train(tmp_path, "resume=run")
    assert code == 0
    assert "run has no checkpoint: the run begins again at step 0" in said
    assert_same(tmp_path / "run", whole("synthetic"))


@pytest.mark.parametrize("solved_at", ["null", "0.0001"])
def test_a_run_that_is_stopped_in_its_test_is_not_trained_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, solved_at: str
):
    """Whether it has taken all its steps or was solved before."""

    def stopping(*arguments: object) -> dict[str, object]:
        monkeypatch.undo()
        raise KeyboardInterrupt

    small = (*RUN, f"task.solved_at={solved_at}")
    assert train(tmp_path, *small, "hydra.run.dir=whole")[0] == 0
    monkeypatch.setattr("longlag.run.measure", stopping)
    code, said = train(tmp_path, *small)
    assert code == 130
    last = 12 if solved_at == "null" else 8
    assert said.endswith(f"longlag: stopped at step {last} of 12; go on with: python train.py resume=run\n")
    code, said = train(tmp_path, "resume=run")
    assert code == 0
    assert "/12  val" not in said  # not a step was validated
    assert records.read(tmp_path / "run")["solved"] == (solved_at != "null")
    assert_same(tmp_path / "run", tmp_path / "whole")


def test_a_process_that_is_sent_the_signal(tmp_path: Path):
    process = start(tmp_path, *ENDLESS, "validation.every=1000000", "hydra.run.dir=run")
    with process:
        try:
            while not (tmp_path / "run" / "metrics.csv").exists():
                assert process.poll() is None, process.stderr.read()
                time.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            said = process.communicate(timeout=60)[1]
        finally:
            process.kill()
    steps = records.read(tmp_path / "run")["cost"]["steps"]
    assert process.returncode == 130
    assert steps > 0
    assert said.splitlines()[-1] == (
        f"longlag: stopped at step {steps} of 1000000; go on with: python train.py resume=run"
    )
    assert torch.load(tmp_path / "run" / LAST, weights_only=True)["global_step"] == steps


LONG = ("max_steps=100000", "validation.every=100000", "runtime.checkpoint_seconds=600", "logger=csv", "trainer=cpu")


@pytest.mark.parametrize("launcher", [pytest.param((), marks=pytest.mark.slow), PROCESSES], ids=["here", "processes"])
@pytest.mark.parametrize("send", [os.kill, os.killpg], ids=["to the sweep", "to all its processes"])
def test_a_sweep_that_is_stopped_writes_the_checkpoints_of_its_runs(tmp_path: Path, launcher: tuple[str, ...], send):
    process = begin(tmp_path, "-m", "task=copy", "lag=6", *LONG, "seed=0,1", "hydra.sweep.dir=sweep", *launcher)
    runs = [tmp_path / "sweep" / f"{seed}_lstm_copy_lag6_seed{seed}" for seed in (0, 1)][: 2 if launcher else 1]
    try:
        for run in runs:
            wait_for(run / "metrics.csv", process)
        send(process.pid, signal.SIGTERM)
        said, _ = process.communicate(timeout=60)
    finally:
        end(process.pid)
    assert process.returncode == 130
    assert said.endswith("longlag: stopped with 0 of 2 runs ended; go on with: python train.py resume=sweep\n")
    assert "Traceback" not in said
    for run in runs:
        record = records.read(run)
        assert (record["status"], record["error"]) == ("interrupted", "stopped from outside")
        assert torch.load(run / LAST, weights_only=True)["global_step"] == record["cost"]["steps"] > 0


@pytest.mark.slow
def test_all_processes_of_a_run_stop_at_one_step(tmp_path: Path):
    process = begin(tmp_path, "task=copy", "lag=6", *LONG, *DDP, "hydra.run.dir=run")
    try:
        wait_for(tmp_path / "run" / "metrics.csv", process)
        os.killpg(process.pid, signal.SIGINT)  # as the terminal does
        said, _ = process.communicate(timeout=60)
    finally:
        end(process.pid)
    record = records.read(tmp_path / "run")
    steps = record["cost"]["steps"]
    assert process.returncode == 130
    assert said.endswith(f"longlag: stopped at step {steps} of 100000; go on with: python train.py resume=run\n")
    assert torch.load(tmp_path / "run" / LAST, weights_only=True)["global_step"] == steps > 0
