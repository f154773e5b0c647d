"""A run in two processes is the run in one: same losses, same accuracies, one record; it goes on where it stopped."""

import json
import os
import signal
from pathlib import Path

import pytest
import torch

import longlag
from helpers.command import compose, train
from helpers.fated import DDP, SMALL, begin, is_gone, place, run, wait_for
from helpers.results import metrics, same, saved_weights, timeless
from longlag import records
from longlag.stream import Seeds, Streams
from longlag.training import processes
from longlag.training.learner import Learner
from longlag.training.trainer import make_trainer, quietly

STEPS = (*SMALL, "model.hidden_size=8", "max_steps=50", "validation.every=10", "trainer.log_every_n_steps=1")
OFFLINE = ("logger=wandb", "logger.wandb.mode=offline", "logger.wandb.dir=.")
FATED = ("--config-dir", "conf", "model=fated", "model.fate=hangs", *SMALL, *DDP, "hydra.run.dir=run")
TWO = [{"LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"} for rank in range(2)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    assert train(folder, *STEPS, "hydra.run.dir=run")[0] == 0
    return folder / "run"


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("both")
    process = begin(folder, *STEPS, *DDP, *OFFLINE, "hydra.run.dir=run")
    said, _ = process.communicate(timeout=240)
    assert process.returncode == 0, said
    return folder / "run", said


def test_two_processes_learn_what_one_learns(alone: Path, both: tuple[Path, str]):
    one, two = (metrics(folder) for folder in (alone, both[0]))
    assert [row["step"] for row in two] == [row["step"] for row in one]
    assert len([row for row in two if row["train/loss"]]) == 50
    for mine, theirs in zip(two, one, strict=True):
        for name in ("train/loss", "train/gradient_norm", "train/accuracy", "val/loss"):
            assert float(mine[name] or 0) == pytest.approx(float(theirs[name] or 0), rel=1e-4), (name, mine["step"])


def test_one_record(alone: Path, both: tuple[Path, str]):
    folder, _ = both
    record = records.read(folder)
    assert {path.name for path in folder.iterdir()} == {path.name for path in alone.iterdir()}
    assert len(list(folder.parent.glob("wandb/offline-run-*"))) == 1
    assert (record["status"], record["cost"]["steps"]) == ("finished", 50)
    assert record["config_hash"] == records.read(alone)["config_hash"]
    assert record["environment"]["processes"] == 2
    assert record["cost"]["tokens_per_second"] > 0


def test_one_process_speaks(both: tuple[Path, str]):
    assert both[1].count("lstm · copy · lag 6 · seed 0") == 1


def validate(folder: Path, overrides: tuple[str, ...], result: Path) -> None:
    """The validation accuracy and loss of the network in a folder, by as many processes as it is called in."""
    network, task, _ = longlag.load(folder)
    cfg = compose(*overrides, "logger=none")
    learner = Learner(network, task, lambda weights: torch.optim.SGD(weights, 0.1))
    trainer = make_trainer(cfg, folder, [])
    with quietly():
        trainer.validate(learner, Streams(task, learner.lags, Seeds(0), 32, 131), verbose=False)
    if trainer.is_global_zero:
        result.write_text(json.dumps({name: value.item() for name, value in trainer.callback_metrics.items()}))


def test_two_processes_measure_what_one_measures(alone: Path, tmp_path: Path):
    validate(alone, ("trainer=cpu",), tmp_path / "one")
    port = {"MASTER_PORT": str(make_trainer(compose(*DDP), tmp_path, []).strategy.cluster_environment.main_port)}
    processes.together([rank | port for rank in TWO], validate, alone, DDP, tmp_path / "two")
    one, two = (json.loads((tmp_path / name).read_text()) for name in ("one", "two"))
    assert two["val/accuracy"] == one["val/accuracy"]
    assert two["val/loss"] == pytest.approx(one["val/loss"], rel=1e-6)


def children(pid: int) -> list[int]:
    """The ranks of a run, in their order (and not Python's resource tracker)."""
    found = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return sorted(child for child in found if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes())


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A run that nobody stopped."""
    folder = place(tmp_path_factory.mktemp("whole"))
    code, said = run(folder, *FATED)
    assert code == 0, said
    return folder / "run"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rank", "number"), [(0, signal.SIGKILL), (1, signal.SIGKILL), (None, signal.SIGTERM), (None, signal.SIGKILL)]
)
def test_a_run_that_loses_a_process_ends_and_goes_on(whole: Path, tmp_path: Path, rank: int | None, number: int):
    folder = place(tmp_path, "hangs")
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell starts what runs in the background
    process = begin(folder, *FATED)
    signal.signal(signal.SIGINT, before)
    try:
        wait_for(folder / "run" / "last.ckpt", process)
        os.kill(process.pid if rank is None else children(process.pid)[rank], number)
        said, _ = process.communicate(timeout=60)
        assert is_gone(process.pid, 60)
    finally:
        process.kill()
    record = records.read(folder / "run")
    if rank is not None:
        assert process.returncode == 1
        assert (record["status"], record["error"]) == (
            "failed",
            f"ChildProcessError: process {rank} of 2 died (SIGKILL)",
        )
        assert f"longlag: process {rank} of 2 died (SIGKILL)" in said
    else:
        assert process.returncode == (130 if number == signal.SIGTERM else -signal.SIGKILL)
        assert record["status"] == "interrupted"
    (folder / "hangs").unlink()
    code, said = run(folder, "--config-dir", "conf", "resume=run")
    assert code == 0, said
    assert "step 2/6" not in said
    assert timeless(records.read(folder / "run")) == timeless(records.read(whole))
    assert metrics(folder / "run") == metrics(whole)
    assert same(saved_weights(folder / "run"), saved_weights(whole))


@pytest.mark.slow
def test_each_process_draws_on_from_where_it_stopped(tmp_path: Path):
    steps = (*STEPS, *DDP, "max_steps=400", "task.solved_at=null", "trainer.log_every_n_steps=7")
    dropout = (*steps, "model.num_layers=2", "model.dropout=0.5")
    assert train(tmp_path, *dropout, "hydra.run.dir=whole")[0] == 0
    process = begin(tmp_path, *dropout, "hydra.run.dir=run")
    try:
        wait_for(tmp_path / "run" / "last.ckpt", process)
        os.kill(children(process.pid)[1], signal.SIGKILL)
        process.communicate(timeout=60)
    finally:
        process.kill()
    assert records.read(tmp_path / "run")["status"] == "failed"
    assert train(tmp_path, "resume=run")[0] == 0
    assert metrics(tmp_path / "run") == metrics(tmp_path / "whole")
    assert same(saved_weights(tmp_path / "run"), saved_weights(tmp_path / "whole"))


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["in_process", "processes"])
def test_a_sweep_of_such_runs(tmp_path: Path, both: tuple[Path, str], launcher: str):
    code, said = train(tmp_path, "-m", *STEPS, *DDP, "seed=0,1", "hydra.sweep.dir=sweep", f"hydra/launcher={launcher}")
    assert code == 0, said
    found = [records.read(path.parent) for path in sorted((tmp_path / "sweep").glob("*/record.json"))]
    assert [(record["seed"], record["status"], record["environment"]["processes"]) for record in found] == [
        (0, "finished", 2),
        (1, "finished", 2),
    ]
    assert found[0]["test"] == records.read(both[0])["test"]


def test_several_machines_need_a_launcher(tmp_path: Path):
    code, said = train(tmp_path, *STEPS, *DDP, "trainer.num_nodes=2")
    assert code == 1
    assert said == "longlag: trainer.num_nodes=2 needs srun or torchrun to start a process per device\n"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_a_run_is_left_alone(alone: Path):
    before = (alone / records.FILE).read_text()
    code, said = train(alone.parent, *STEPS, *DDP, "hydra.run.dir=run")
    assert code == 1
    assert "run holds a run already" in said
    assert (alone / records.FILE).read_text() == before


def test_a_notebook_is_told_that_ddp_needs_a_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    interactive = "pytorch_lightning.trainer.connectors.accelerator_connector._IS_INTERACTIVE"
    monkeypatch.setattr(interactive, True)
    with pytest.raises(ValueError, match=r"^trainer=ddp does not work in a notebook: use trainer=auto, or put"):
        make_trainer(compose(*DDP), tmp_path, [])
