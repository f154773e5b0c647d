"""Going on with runs and sweeps: what ended is kept as it is, what is missing is made, and nothing else is left."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import train
from omegaconf import OmegaConf
from test_checkpoints import metrics, timeless

import longlag
from longlag import records, resume
from longlag.checkpoints import LAST
from longlag.learner import Learner

SMALL = (
    *("task=copy", "lag=6", "max_steps=6", "validation.every=2", "validation.sequences=16", "eval.sequences=16"),
    *("eval.lags=[6]", "runtime.checkpoint_seconds=0", "model.hidden_size=8", "logger=csv", "trainer=cpu"),
)
SWEEP = ("-m", *SMALL, "hydra.sweep.dir=sweep", "seed=0,1")
CELLS = [f"{number}_lstm_copy_lag6_seed{number}" for number in (0, 1)]
TARGET = "torch.utils.collect_env.run"


@pytest.fixture(scope="module")
def begun(tmp_path_factory) -> Path:
    """A folder with a finished sweep of two cells."""
    folder = tmp_path_factory.mktemp("begun")
    assert train(folder, *SWEEP)[0] == 0
    return folder


@pytest.fixture
def folder(begun: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(begun, tmp_path / "copy"))


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Presses Ctrl-C at one training step of all that follow, once."""

    def arm(step: int) -> None:
        training_step, steps = Learner.training_step, iter(range(step))

        def stopping(self: Learner, *arguments: object) -> torch.Tensor:
            if next(steps, None) is None:
                monkeypatch.undo()
                raise KeyboardInterrupt
            return training_step(self, *arguments)

        monkeypatch.setattr(Learner, "training_step", stopping)

    return arm


def files(folder: Path) -> dict[str, int]:
    """The files of the runs below a folder, and when they were written."""
    return {str(path): path.stat().st_mtime_ns for path in folder.glob("sweep/*/*")}


def cells(folder: Path) -> dict[str, dict]:
    return {path.parent.name: json.loads(path.read_text()) for path in folder.glob("*/record.json")}


def change(folder: Path, **changes: object) -> None:
    records.write(records.read(folder) | changes, folder)


def test_a_sweep_that_is_complete(folder: Path):
    before = files(folder)
    code, said = train(folder, "resume=sweep")
    assert code == 0
    assert "2 of 2 cells have come to their end already" in said
    assert files(folder) == before


def test_a_wider_grid_reuses_cells_wherever_they_stand(folder: Path):
    (folder / "sweep" / CELLS[0]).rename(folder / "sweep" / "of yesterday")
    before = files(folder)
    code, said = train(folder, "resume=sweep", "seed=2,1,0")
    assert code == 0
    assert "[1 of 1 cells]" in said
    assert set(cells(folder / "sweep")) == {"of yesterday", CELLS[1], "0_lstm_copy_lag6_seed2"}
    assert before.items() <= files(folder).items()
    assert "3 of 3 cells have come" in train(folder, "resume=sweep")[1]


def test_another_knob_gives_a_cell_a_name_that_is_taken(folder: Path):
    before = files(folder)
    assert train(folder, "resume=sweep", "model.hidden_size=4,8", "seed=0")[0] == 0
    assert before.items() <= files(folder).items()
    new = {name: record for name, record in cells(folder / "sweep").items() if name not in CELLS}
    ((name, record),) = new.items()
    assert name == f"{CELLS[0]}_{record['config_hash'][:6]}"
    assert (record["status"], record["config"]["model"]["hidden_size"]) == ("finished", 4)
    assert "2 of 2 cells have come" in train(folder, "resume=sweep")[1]


def test_a_corrupted_record(folder: Path):
    broken = folder / "sweep" / CELLS[1] / records.FILE
    expected = json.loads(broken.read_text())
    broken.write_text(broken.read_text()[:1000])
    code, said = train(folder, "resume=sweep")
    assert code == 0, said
    assert "1 of 2 cells have come to their end already" in said
    assert broken.stat().st_size == 1000
    (made,) = (path for path in (folder / "sweep").glob(f"{CELLS[1]}_*"))
    assert timeless(records.read(made)) == timeless(expected)
    assert "2 of 2 cells have come" in train(folder, "resume=sweep")[1]


def test_an_interrupted_cell_continues(begun: Path, tmp_path: Path, stop_at):
    stop_at(10)  # six steps of the first cell, four of the second
    code, said = train(tmp_path, *SWEEP)
    assert code == 130
    assert f"interrupted  sweep/{CELLS[1]}: stopped from outside" in said
    assert said.endswith("longlag: stopped with 1 of 2 runs ended; go on with: python train.py resume=sweep\n")
    assert (tmp_path / "sweep" / CELLS[1] / LAST).exists()
    code, said = train(tmp_path, "resume=sweep")
    assert code == 0
    assert "step 4/6" not in said
    assert "step 6/6" in said
    for name in CELLS:
        ours, whole = tmp_path / "sweep" / name, begun / "sweep" / name
        assert timeless(records.read(ours)) == timeless(records.read(whole))
        assert metrics(ours) == metrics(whole)
        assert {path.name for path in ours.iterdir()} == {path.name for path in whole.iterdir()}


def test_a_run_continues(begun: Path, tmp_path: Path, stop_at):
    stop_at(4)
    assert train(tmp_path, *SMALL, "hydra.run.dir=run")[0] == 130
    code, said = train(tmp_path, "resume=run", "logger=csv", "runtime.checkpoint_seconds=60")
    assert code == 0
    assert "step 4/6" not in said
    record = records.read(tmp_path / "run")
    whole = records.read(begun / "sweep" / CELLS[0])
    for one in (record, whole):
        one["config"]["runtime"] = one["command"] = None
    assert timeless(record) == timeless(whole)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_run_that_has_come_to_its_end(folder: Path):
    before = files(folder)
    code, said = train(folder, f"resume=sweep/{CELLS[0]}")
    assert (code, said) == (0, f"sweep/{CELLS[0]} has come to its end: nothing is left to do\n")
    assert files(folder) == before
    assert not (folder / "outputs").exists()


def test_a_sweep_that_is_still_at_work(folder: Path):
    for name in CELLS:
        change(folder / "sweep" / name, status="interrupted")
    with records.claimed(folder / "sweep" / CELLS[1], go_on=True):
        before = files(folder)
        code, said = train(folder, "resume=sweep")
        assert files(folder) == before
    wait = "locked by another process, which is still at work; wait for it, or stop it first"
    assert (code, said) == (1, f"longlag: {CELLS[1]}: {wait}\n")
    code, said = train(folder, "resume=sweep")
    assert code == 0, said
    assert {record["status"] for record in cells(folder / "sweep").values()} == {"finished"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["resume=nothing"], "nothing holds no run"),
        (["resume=empty"], "empty holds no run"),
        (["-m", "resume=nothing", "seed=0,1"], "nothing holds no sweep"),
        (["-m", "resume=empty", "seed=0,1"], "empty holds no sweep"),
        (["resume=broken"], "does not hold the command of a sweep; give its grid again, with -m"),
        (["resume=half"], "record.json is not a record"),
    ],
    ids=" ".join,
)
def test_nothing_to_go_on_with(tmp_path: Path, arguments: list[str], said: str):
    for name, file in (("empty", None), ("broken", "multirun.yaml"), ("half", "record.json")):
        (tmp_path / name).mkdir()
        if file:
            (tmp_path / name / file).write_text("{hydra: [")
    before = sorted(tmp_path.rglob("*"))
    code, line = train(tmp_path, *arguments)
    assert code == 1
    assert line.startswith("longlag: ")
    assert said in line
    assert line.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("argument", ["lag=5", "model=gru", "+optimizer.eps=1", "trainer.precision=64-true"])
def test_a_run_cannot_become_another(folder: Path, argument: str):
    change(folder / "sweep" / CELLS[0], status="interrupted")
    before = files(folder)
    code, line = train(folder, f"resume=sweep/{CELLS[0]}", argument)
    assert code == 1
    assert "as it was begun" in line or "was begun with another trainer.precision" in line
    assert line.count("\n") == 1
    assert files(folder) == before
    assert not (folder / "outputs").exists()


@pytest.mark.parametrize("key", ["model", "task", "optimizer", "trainer", "lag_mode", "logger.csv"])
def test_a_record_that_names_what_may_not_be_made(folder: Path, key: str):
    run = folder / "sweep" / CELLS[0]
    config = OmegaConf.create(records.read(run)["config"])
    OmegaConf.update(config, f"{key}._target_", TARGET, force_add=True)
    change(run, status="interrupted", config=OmegaConf.to_container(config))
    before = files(folder)
    code, line = train(folder, f"resume=sweep/{CELLS[0]}")
    assert code == 1
    assert f"_target_ {TARGET} is not allowed" in line
    assert line.count("\n") == 1
    assert files(folder) == before
    if key in ("model", "task"):
        with pytest.raises(ValueError, match=f"_target_ {TARGET} is not allowed"):
            longlag.load(run)


def test_the_grid_of_a_sweep(tmp_path: Path):
    task = ["model=rnn,lstm", "eval.lags=[${lag}]", "resume=somewhere"]
    overrides = {"hydra": ["hydra.launcher.workers=2", "hydra.sweep.dir=x", "hydra.mode=MULTIRUN"], "task": task}
    (tmp_path / "multirun.yaml").write_text(OmegaConf.to_yaml({"lag": 5, "hydra": {"overrides": overrides}}))
    again = f"resume={tmp_path}"
    grid = ["model=rnn,lstm", "eval.lags=[${lag}]"]
    assert resume.grid([again]) == ["-m", "hydra.launcher.workers=2", *grid, again]
    assert resume.grid(["--config-dir", "conf", again, "model=gru"]) == [
        *("-m", "--config-dir", "conf", "hydra.launcher.workers=2", "eval.lags=[${lag}]", again, "model=gru")
    ]
    assert resume.grid([again, "hydra/launcher=in_process"]) == ["-m", *grid, again, "hydra/launcher=in_process"]
    assert resume.grid(["-m", again, "seed=0,1"]) == ["-m", again, "seed=0,1"]
    assert resume.grid(["seed=0"]) == ["seed=0"]


@pytest.mark.slow
def test_a_grid_in_yaml(tmp_path: Path):
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    grid = {"hydra": {"mode": "MULTIRUN", "sweeper": {"params": {"seed": "0,1"}}}}
    (tmp_path / "conf" / "experiment" / "tiny.yaml").write_text("# @package _global_\n" + OmegaConf.to_yaml(grid))
    own = ("--config-dir", "conf")
    assert train(tmp_path, *own, *SMALL, "experiment=tiny", "max_steps=1", "hydra.sweep.dir=sweep")[0] == 0
    assert "2 of 2 cells have come" in train(tmp_path, *own, "resume=sweep")[1]
    assert train(tmp_path, *own, "resume=sweep", "seed=0,1,2")[0] == 0
    assert sorted(record["seed"] for record in cells(tmp_path / "sweep").values()) == [0, 1, 2]
