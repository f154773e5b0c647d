"""W&B with a server: all of a run reaches it, a resumed run goes on in its own, and a server may die at any time."""

import csv
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import wandb

from helpers.command import TRAIN
from helpers.wandb_files import offline_runs, sent_later
from helpers.wandb_stub import Sent, Server
from longlag import records
from longlag.tasks.copy import Copy
from longlag.tracking.logger import Wandb
from longlag.tracking.wandb_runs import run_id
from longlag.training.learner import Learner

STEPS = ("max_steps=20", "validation.every=5", "trainer.log_every_n_steps=5", "runtime.checkpoint_seconds=0")
ONLINE = ("logger=wandb", *STEPS)
ALL = [5, 10, 15, 20]  # the steps with a validation


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[Server]:
    caplog.set_level(logging.INFO, logger="longlag")
    server = Server()
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    yield server
    wandb.teardown()
    server.die()
    assert server.unknown == []


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], None]], None]:
    """Has something happen at a step of the training, once."""

    def arm(step: int, action: Callable[[], None]) -> None:
        training_step, left = Learner.training_step, [action]

        def watched(self: Learner, *arguments: object) -> object:
            if self.global_step == step and left:
                left.pop()()
            return training_step(self, *arguments)

        monkeypatch.setattr(Learner, "training_step", watched)

    return arm


def power_cut() -> None:
    raise RuntimeError("power cut")


def only(runs: dict[str, Sent], folder: Path, record: records.Record) -> Sent:
    """The run of the folder, where no other was sent."""
    assert list(runs) == [run_id(folder, record)]
    return runs[run_id(folder, record)]


def validated(sent: Sent) -> list[int]:
    return [row["trainer/global_step"] for row in sent.history if "val/accuracy" in row]


def test_all_of_a_run_reaches_the_server(run_small, server: Server):
    folder, record = run_small(*ONLINE, "logger.wandb.group=these", "logger.wandb.tags=[mine]")
    sent = only(server.runs, folder, record)
    told = {name: sent.upserted[name] for name in ("groupName", "jobType", "displayName", "project", "tags")}
    assert told == {
        "groupName": "these",
        "jobType": "run",
        "displayName": "model-task-lag6-seed0",
        "project": "longlag",
        "tags": ["mine"],
    }
    assert sent.config == {name: record[name] for name in ("model", "task", "lag", "seed", "config_hash", "config")}
    assert validated(sent) == ALL
    curve = [(row["lag_curve/lag"], row["lag_curve/accuracy"]) for row in sent.history if "lag_curve/lag" in row]
    assert curve == [(point["lag"], point["accuracy"]) for point in record["lag_curve"]]
    assert sent.summary["status"] == "finished"
    assert sent.exit_codes == [0]
    (picture,) = [content for name, content in sent.files.items() if name.startswith("media/images/lag_curve/")]
    assert picture == (folder / "lag_curve.png").read_bytes()


def test_a_run_that_failed_is_failed_there(run_small, server: Server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Copy, "measure", lambda *_: power_cut())
    with pytest.raises(RuntimeError, match="power cut"):
        run_small("logger=wandb")
    (sent,) = server.runs.values()
    assert sent.exit_codes == [1]
    assert sent.summary["status"] == "failed"


def test_a_server_that_dies_costs_one_line_and_the_rest_can_be_sent_later(
    run_small, server: Server, at_step, monkeypatch: pytest.MonkeyPatch, caplog, tmp_path: Path
):
    took, close = [], Wandb.close

    def timed(self: Wandb, ok: bool) -> None:
        started = time.monotonic()
        close(self, ok)
        took.append(time.monotonic() - started)

    monkeypatch.setattr(Wandb, "close", timed)
    at_step(8, server.die)
    folder, record = run_small(*ONLINE, "logger.wandb.timeout=3")
    assert record == records.read(folder)
    assert record["status"] == "finished"
    with (folder / "metrics.csv").open(newline="") as file:
        assert [int(row["step"]) for row in csv.DictReader(file) if row["val/accuracy"]] == ALL
    assert took[0] < 3 + 5
    (run,) = tmp_path.glob("wandb/run-*")
    assert [line for line in caplog.messages if "W&B" in line] == [
        f"W&B: {server.url}/nobody/longlag/runs/{run_id(folder, record)}",
        f"W&B: the server did not take all of this run. To send it later: wandb sync --include-online {run}",
    ]
    assert only(server.runs, folder, record).exit_codes == []
    sent = only(sent_later("--include-online", run), folder, record)
    assert (validated(sent), sent.exit_codes, sent.summary["status"]) == (ALL, [0], "finished")


def stopped_and_gone_on(run_small, at_step) -> tuple[Path, records.Record]:
    at_step(12, power_cut)
    with pytest.raises(RuntimeError, match="power cut"):
        run_small(*ONLINE)
    return run_small(*ONLINE, go_on=True)


def is_whole(sent: Sent) -> None:
    assert sent.exit_codes == [1, 0]
    assert sent.summary["status"] == "finished"
    assert validated(sent) == ALL
    steps = [row["_step"] for row in sent.history]
    assert steps == sorted(set(steps))


def test_a_resumed_run_goes_on_in_its_own(run_small, server: Server, at_step):
    is_whole(only(server.runs, *stopped_and_gone_on(run_small, at_step)))


def test_a_run_that_was_resumed_offline_is_one_when_it_is_sent(run_small, at_step, tmp_path: Path):
    folder, record = stopped_and_gone_on(run_small, at_step)
    wandb.teardown()
    begun, ended = offline_runs(tmp_path)
    is_whole(only(sent_later(begun, ended), folder, record))


def test_the_same_choices_in_another_folder_are_another_run(run_small, server: Server, tmp_path: Path):
    for name in ("one", "two"):
        run_small("logger=wandb", folder=tmp_path / name)
    assert [sent.exit_codes for sent in server.runs.values()] == [[0], [0]]


def process(folder: Path, *overrides: str) -> subprocess.Popen[bytes]:
    """`python train.py …` with W&B, in a process: what it says goes to `said`, which wandb's process has open, too."""
    small = ("task=copy", "lag=6", "model.hidden_size=8", "validation.sequences=32", "eval.sequences=16", "trainer=cpu")
    long = ("max_steps=1000", "validation.every=10", "task.solved_at=null", "eval.lags=[6]", "hydra.run.dir=run")
    command = [sys.executable, str(TRAIN), *small, *long, "logger=wandb", "logger.wandb.timeout=3", *overrides]
    with (folder / "said").open("wb") as said:
        return subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=said)


def wait_until(condition: Callable[[], object], run: subprocess.Popen[bytes]) -> None:
    while not condition():
        assert run.poll() is None
        time.sleep(0.02)


def is_finished(folder: Path) -> bool:
    return (folder / "run" / "record.json").exists() and records.read(folder / "run")["status"] == "finished"


def test_a_server_that_hangs_does_not_keep_the_command_beyond_the_time_out(server: Server, tmp_path: Path):
    run = process(tmp_path)
    try:
        wait_until(lambda: "step 500/1000" in (tmp_path / "said").read_text(), run)
        server.hang()
        wait_until(lambda: is_finished(tmp_path), run)
        ended = time.monotonic()
        assert run.wait(60) == 0
        assert time.monotonic() - ended < 3 + 5
    finally:
        run.kill()
    said = (tmp_path / "said").read_text()
    assert (
        said.count("W&B: the server did not take all of this run. To send it later: wandb sync --include-online") == 1
    )
    assert "Traceback" not in said


def test_wandb_loses_its_own_process(server: Server, tmp_path: Path):
    run = process(tmp_path)
    try:
        wait_until(lambda: "step 500/1000" in (tmp_path / "said").read_text(), run)
        children = map(int, Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split())
        (core,) = [pid for pid in children if b"wandb-core" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        os.kill(core, signal.SIGKILL)
        assert run.wait(120) == 0
    finally:
        run.kill()
    assert is_finished(tmp_path)
    said = (tmp_path / "said").read_text()
    (folder,) = tmp_path.glob("wandb/run-*")
    lines = [line for line in said.splitlines() if "W&B" in line]
    gone = (
        "W&B: its process is gone; the run goes on without it. "
        "To send what it has until now: wandb sync --include-online "
    )
    assert lines[1:] == [f"{gone}{folder.relative_to(tmp_path)}"]
    assert "Traceback" not in said
    wandb.teardown()
    server.die()
    (sent,) = sent_later("--include-online", folder).values()
    assert validated(sent)
