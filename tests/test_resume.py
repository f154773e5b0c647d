"""Going on with runs and sweeps: what ended is kept as it is, what is missing is made, and nothing else is left."""

import json
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

import longlag
from helpers.command import train
from helpers.results import metrics, timeless
from longlag import records, resume
from longlag.settings import plain
from longlag.training.checkpoints import LAST
from longlag.training.learner import Learner

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
    assert "2 of 2 runs have ended already" in said
    assert files(folder) == before


def test_a_wider_grid_reuses_cells_wherever_they_stand(folder: Path):
    (folder / "sweep" / CELLS[0]).rename(folder / "sweep" / "of yesterday")
    before = files(folder)
    code, said = train(folder, "resume=sweep", "seed=2,1,0")
    assert code == 0
    assert "[1 of 1 runs]" in said
    assert set(cells(folder / "sweep")) == {"of yesterday", CELLS[1], "0_lstm_copy_lag6_seed2"}
    assert before.items() <= files(folder).items()
    assert "3 of 3 runs have ended" in train(folder, "resume=sweep")[1]


def test_another_knob_gives_a_cell_a_name_that_is_taken(folder: Path):
    before = files(folder)
    assert train(folder, "resume=sweep", "model.hidden_size=4,8", "seed=0")[0] == 0
    assert before.items() <= files(folder).items()
    new = {name: record for name, record in cells(folder / "sweep").items() if name not in CELLS}
    ((name, record),) = new.items()
    assert name == f"{CELLS[0]}_{records.begun_hash(record['config'])[:6]}"
    assert (record["status"], record["config"]["model"]["hidden_size"]) == ("finished", 4)
    assert "2 of 2 runs have ended" in train(folder, "resume=sweep")[1]


def test_a_corrupted_record(folder: Path):
    broken = folder / "sweep" / CELLS[1] / records.FILE
    expected = json.loads(broken.read_text())
    broken.write_text(broken.read_text()[:1000])
    code, said = train(folder, "resume=sweep")
    assert code == 0, said
    assert "1 of 2 runs have ended already" in said
    assert broken.stat().st_size == 1000
    (made,) = (path for path in (folder / "sweep").glob(f"{CELLS[1]}_*"))
    assert timeless(records.read(made)) == timeless(expected)
    assert "2 of 2 runs have ended" in train(folder, "resume=sweep")[1]


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
    assert (code, said) == (0, f"sweep/{CELLS[0]} has ended already: nothing is left to do\n")
    assert files(folder) == before
    assert not (folder / "outputs").exists()


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
    assert "that it was begun with" in line or "was begun with another trainer.precision" in line
    assert line.count("\n") == 1
    assert files(folder) == before
    assert not (folder / "outputs").exists()


@pytest.mark.parametrize("key", ["model", "task", "optimizer", "lag_mode"])
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


def with_settings(folder: Path, **changes: dict) -> Path:
    """The run of a sweep, interrupted, and groups of its record's settings with others in them."""
    run = folder / "sweep" / CELLS[0]
    config = records.read(run)["config"]
    for group, settings in changes.items():
        config[group] |= settings
    change(run, status="interrupted", config=config, config_hash=records.config_hash(config))
    return run


def test_what_is_made_and_where_files_go_does_not_come_from_the_record(folder: Path):
    elsewhere = {"name": "../elsewhere", "version": "there", "_target_": TARGET}
    run = with_settings(folder, trainer={"_target_": TARGET}, logger={"csv": elsewhere})
    (run / "metrics.csv").unlink()
    code, said = train(folder, f"resume=sweep/{CELLS[0]}")
    assert code == 0, said
    assert (run / "metrics.csv").exists()
    assert records.read(run)["config"]["logger"]["csv"]["name"] == ""
    assert records.read(run)["config"]["trainer"]["_target_"] == "pytorch_lightning.Trainer"
    assert not list(folder.rglob("elsewhere"))


def test_the_values_that_a_run_began_with_are_kept(folder: Path):
    run = with_settings(folder, trainer={"log_every_n_steps": 3}, runtime={"threads": None, "checkpoint_seconds": 7})
    code, said = train(folder, f"resume=sweep/{CELLS[0]}")
    assert code == 0, said
    config = records.read(run)["config"]
    assert (config["trainer"]["log_every_n_steps"], config["trainer"]["accelerator"]) == (3, "cpu")
    kept = {"threads": None, "malloc": "auto", "kernels": "library", "checkpoint_seconds": 7}
    assert config["runtime"] == kept
    assert list(config["logger"]) == ["csv"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"trainer": {"default_root_dir": "/"}}, "trainer.default_root_dir is not taken from a record"),
        ({"trainer": {"callbacks": [{"_target_": TARGET}]}}, "trainer.callbacks is not taken from a record"),
        ({"trainer": {"devices": {"_target_": TARGET}}}, "trainer.devices is not taken from a record"),
        ({"trainer": {"devices": [[1]]}}, "trainer.devices is not taken from a record"),
        ({"logger": {"board": {"_target_": TARGET}}}, "logger.board is not taken from a record"),
        ({"logger": {"csv": {"root": "/"}}}, "logger.csv.root is not taken from a record"),
        ({"logger": {"csv": None}}, "logger.csv is not taken from a record"),
    ],
    ids=str,
)
def test_settings_that_no_record_of_ours_has(folder: Path, changes: dict, said: str):
    with_settings(folder, **changes)
    before = files(folder)
    code, line = train(folder, f"resume=sweep/{CELLS[0]}")
    assert (code, said in line, line.count("\n")) == (1, True, 1), line
    assert files(folder) == before


def test_a_configuration_in_a_record_is_text(folder: Path):
    text = "${oc.env:HOME} \\${lag} ???"
    run = with_settings(folder)
    record = records.read(run)
    change(run, config=record["config"] | {"published": {"source": text}})
    assert records.config_of(records.read(run)).published.source == text
    assert plain(records.config_of(records.read(run)))["published"] == {"source": text}
    code, said = train(folder, f"resume=sweep/{CELLS[0]}")
    assert code == 0, said
    assert records.read(run)["config"]["published"] == {"source": text}


def test_a_run_goes_on_with_the_text_it_was_begun_with(run_small, tmp_path: Path):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("In the beginning was the word, and it was long. " * 40)
    text = ("task=text", f"task.corpus={corpus}", "task.sample=5")
    run, _ = run_small(*text)
    corpus.write_text("In the beginning was the Word, and it was long. " * 40)
    with pytest.raises(ValueError, match=r"its sha256 was \w{64}, now it is \w{64}"):
        run_small(*text, go_on=True)
    assert records.read(run)["status"] == "finished"


@pytest.mark.parametrize("name", ["metrics.csv", "output.log", ".lock", "sub/metrics.csv"])
@pytest.mark.parametrize("of", ["run", "sweep"])
def test_a_link_that_leads_out_of_the_folder(folder: Path, name: str, of: str):
    run = with_settings(folder)
    outside = folder / "outside"
    outside.write_text("as it was")
    (run / name).unlink(missing_ok=True)
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).symlink_to(outside)
    code, line = train(folder, f"resume={run.relative_to(folder) if of == 'run' else 'sweep'}")
    assert (code, line.count("\n")) == (1, 1)
    assert f"{name} is a link that leads out of sweep" in line
    assert outside.read_text() == "as it was"


def keep_command(folder: Path, task: list[str], hydra: list[str]) -> None:
    """Write down the command of a sweep as Hydra does."""
    overrides = {"hydra": [*hydra, "hydra.mode=MULTIRUN"], "task": task}
    (folder / "multirun.yaml").write_text(OmegaConf.to_yaml({"lag": 5, "hydra": {"overrides": overrides}}))


def test_the_grid_of_a_sweep(tmp_path: Path):
    task = ["model=rnn,lstm", "eval.lags=[${lag}]", "resume=somewhere"]
    keep_command(tmp_path, task, ["hydra.launcher.workers=2", "hydra.sweep.dir=x"])
    again = f"resume={tmp_path}"
    grid = ["model=rnn,lstm", "eval.lags=[${lag}]"]
    assert resume.grid([again]) == ["-m", "hydra.launcher.workers=2", *grid, again]
    assert resume.grid(["--config-dir", "conf", again, "model=gru"]) == [
        *("-m", "--config-dir", "conf", "hydra.launcher.workers=2", "eval.lags=[${lag}]", again, "model=gru")
    ]
    assert resume.grid([again, "hydra/launcher=in_process"]) == ["-m", *grid, again, "hydra/launcher=in_process"]
    assert resume.grid(["-m", again, "seed=0,1"]) == ["-m", again, "seed=0,1"]
    assert resume.grid(["seed=0"]) == ["seed=0"]


TAKEN = [
    *("hydra/launcher=processes", "hydra/sweeper=horizon", "hydra.launcher.timeout=3.5", "hydra.launcher.gpus=[0,1]"),
    *("hydra.launcher.gpus=[[0,1],[2,3]]", "hydra.launcher.workers=null", "hydra.sweeper.first_lag=4"),
    "hydra.sweeper.over=model.hidden_size",
    *("+hydra.launcher.init.num_cpus=2", "hydra.launcher.remote.num_gpus=0.25"),
    *("experiment=published/bai_copy_t1000_gru", "lag=10,30,100", "seed=range(0,5)", "model.t_max='${times:2,${lag}}'"),
    *("task.prompt='It is: '", "task.corpus=../texts/mine.txt", "+optimizer.eps=1e-8", "~logger.wandb", "logger=csv"),
    *("logger.wandb.tags=[a,b]", "logger.wandb.group=${lag}", "trainer.gradient_clip_val=null,1.0", "tune.over=[lr]"),
    *("model._target_=longlag.models.gru.GRU", "model=glob(l*)", "tuned=none,copy"),
]
LEFT_OUT = [
    *("hydra/launcher=basic", "hydra/launcher='processes'", "hydra/sweeper=optuna", "hydra/job_logging=default"),
    *("+hydra.callbacks.e={_target_: canary.Core}", "+hydra.callbacks.e._target_=canary.Core", "hydra.output_subdir=x"),
    *("hydra.searchpath=[pkg://canary]", "+hydra.job.env_set.LONGLAG_ALLOW=canary", "hydra.sweep.subdir=../../x"),
    *("hydra.launcher._target_=canary.Core", "hydra.launcher.setup=[touch x]", "hydra.launcher.partition=gpu"),
    *("+hydra.launcher.x={_target_: canary.Core}", "hydra.launcher.workers=1,2", "~hydra.launcher.workers"),
    *("hydra.sweeper.over=../x", "hydra.sweeper.over='model.hidden_size'", "hydra.sweeper.other=model.hidden_size"),
    *("hydra.launcher={workers: 1}", "hydra.verbose=true", "hydra={verbose: true}", "~hydra.callbacks"),
    *("hydra.sweep.subdir=${hydra:runtime.choices.experiment}", "hydra.launcher.partition=${oc.env:HOME}"),
]
REFUSED = [
    *("--config-dir=/tmp", "--experimental-rerun=x", "-cd=/tmp", "--multirun", "+model@hydra.callbacks.e=lstm"),
    *("experiment=../../x", "tuned=../x", "+experiment/../../x=y", "model=lstm,../../x", "lag=${oc.env:HOME}"),
    *("published={source: '${oc.env:HOME}'}", "task.prompt=$\\{oc.env:HOME\\}", "lag=${hydra.runtime.cwd}"),
    *("model.t_max='${times:1,${oc.env:HOME}}'", "lag=${oc.decode:x}", "lag", "=5", "", "lag=[1", "lag=" + "[" * 3000),
]


@pytest.mark.parametrize("where", ["task", "hydra"])
def test_what_is_taken_from_the_command_of_a_sweep(tmp_path: Path, where: str, caplog: pytest.LogCaptureFixture):
    keep_command(tmp_path, **({"task": [], "hydra": []} | {where: [*TAKEN, *LEFT_OUT]}))
    assert resume.grid([f"resume={tmp_path}"]) == ["-m", *TAKEN, f"resume={tmp_path}"]
    (told,) = caplog.messages
    for word in LEFT_OUT:
        assert word.partition("=")[0].lstrip("+~") in told
    assert "canary.Core" not in told


@pytest.mark.parametrize("word", REFUSED, ids=lambda word: word[:40])
def test_what_no_command_of_a_sweep_may_hold(tmp_path: Path, word: str):
    keep_command(tmp_path, ["lag=5", word], [])
    with pytest.raises(ValueError, match=r"multirun\.yaml: .* give the grid again, with -m$") as refusal:
        resume.grid([f"resume={tmp_path}"])
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 400


@pytest.mark.parametrize(
    "word",
    [
        "tune.to=there",
        "logger.wandb.dir=there",
        "logger.wandb={dir: there}",
        "+logger.x={name: ../x}",
        "tune={to: there}",
    ],
)
def test_where_files_go_is_to_be_given_again(tmp_path: Path, word: str):
    keep_command(tmp_path, ["lag=5", word], [])
    key = word.partition("=")[0].lstrip("+")
    with pytest.raises(
        ValueError, match=f"{key} decides where files are written; give it again, together with resume="
    ):
        resume.grid([f"resume={tmp_path}"])
    again = [f"resume={tmp_path}", word]
    assert resume.grid(again) == ["-m", "lag=5", *again]


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x]\n" + "".join(f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in pairwise("abcdefgh")),
        "[" * 20000,
        "hydra: {overrides: {hydra: [], task: [[]]}}",
        "hydra: {overrides: {hydra: [], task: [{a: b}]}}",
        "hydra: !!python/object/apply:os.system [false]",
        "x" * 300_000,
        "\0",
        "",
    ],
    ids=["laughs", "deep", "a list", "a mapping", "python", "large", "a NUL", "empty"],
)
def test_a_command_that_is_none(tmp_path: Path, text: str):
    (tmp_path / "multirun.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"does not hold the command of a sweep; give its grid again, with -m$"):
        resume.grid([f"resume={tmp_path}"])


@pytest.mark.slow
def test_a_grid_in_yaml(tmp_path: Path):
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    grid = {"hydra": {"mode": "MULTIRUN", "sweeper": {"params": {"seed": "0,1"}}}}
    (tmp_path / "conf" / "experiment" / "tiny.yaml").write_text("# @package _global_\n" + OmegaConf.to_yaml(grid))
    own = ("--config-dir", "conf")
    assert train(tmp_path, *own, *SMALL, "experiment=tiny", "max_steps=1", "hydra.sweep.dir=sweep")[0] == 0
    assert "2 of 2 runs have ended" in train(tmp_path, *own, "resume=sweep")[1]
    assert train(tmp_path, *own, "resume=sweep", "seed=0,1,2")[0] == 0
    assert sorted(record["seed"] for record in cells(tmp_path / "sweep").values()) == [0, 1, 2]


def interrupted(folder: Path) -> None:
    record = records.read(folder)
    record["status"], record["error"] = "interrupted", "stopped from outside"
    records.write(record, folder)


@pytest.mark.parametrize("where", ["hydra.run.dir=run", "hydra.sweep.dir=sweep"])
def test_a_corpus_that_was_replaced_is_refused(tmp_path: Path, where: str):
    """Once the run finished on the second corpus, and named that one alone."""
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("In the beginning was the word, and it was long. " * 40, encoding="utf-8")
    text = ("task=text", f"task.corpus={corpus}", "task.sample=0", *SMALL[1:])
    assert train(tmp_path, *(["-m"] if "sweep" in where else []), *text, where)[0] == 0
    (run,) = (path.parent for path in tmp_path.rglob(records.FILE))
    interrupted(run)
    before = (run / records.FILE).read_bytes()
    corpus.write_text("In the beginning was the Word, and it was long. " * 40, encoding="utf-8")
    code, said = train(tmp_path, f"resume={where.rpartition('=')[2]}")
    assert code == 1
    assert "the text corpus has changed since the training" in said
    assert "Traceback" not in said
    assert (run / records.FILE).read_bytes() == before


def test_a_refused_run_leaves_the_users_folders_alone(tmp_path: Path):
    (tmp_path / "mine" / "empty").mkdir(parents=True)
    assert train(tmp_path, *SMALL, "lag=1", "hydra.run.dir=mine/empty")[0] == 1
    assert (tmp_path / "mine" / "empty").is_dir()
    assert train(tmp_path, *SMALL, "lag=1", "hydra.run.dir=mine/empty/new/newer")[0] == 1
    assert list((tmp_path / "mine" / "empty").iterdir()) == []
    (tmp_path / "mine" / "empty").rmdir()
    assert train(tmp_path, *SMALL, "lag=1", "hydra.run.dir=mine/new")[0] == 1
    assert list((tmp_path / "mine").iterdir()) == []


def test_going_on_makes_no_folder_at_any_time(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """Even where it is killed in the middle: Hydra is given the folder that is there."""
    run = folder / "sweep" / CELLS[0]
    interrupted(run)
    seen = []
    monkeypatch.setattr(Learner, "training_step", lambda *_: seen.append(set(folder.rglob("*"))) or 1 / 0)
    before = set(folder.rglob("*"))
    with pytest.raises(ZeroDivisionError):
        train(folder, f"resume=sweep/{CELLS[0]}")
    assert {path.name for path in seen[0] - before} <= {records.LOCK}
    assert {path for path in set(folder.rglob("*")) - before if path.is_dir()} == set()
    seen.clear()
    interrupted(run)
    train(folder, "resume=sweep")
    assert {path for path in seen[0] - before if path.is_dir()} == set()


def test_what_changes_the_last_digits_is_said(folder: Path):
    run = folder / "sweep" / CELLS[0]
    interrupted(run)
    code, said = train(folder, f"resume=sweep/{CELLS[0]}", "runtime.threads=2")
    assert code == 0, said
    assert f"{run.relative_to(folder)} goes on, no longer bit for bit: runtime.threads=2 (was 1)" in said
    interrupted(run)
    code, said = train(folder, f"resume=sweep/{CELLS[0]}", "runtime.threads=2", "runtime.malloc=stock")
    assert code == 0, said
    assert "bit for bit" not in said


def test_a_run_keeps_when_it_was_begun_first(folder: Path):
    run = folder / "sweep" / CELLS[0]
    change(run, status="interrupted", started="2020-01-01T00:00:00+00:00")
    assert train(folder, f"resume=sweep/{CELLS[0]}")[0] == 0
    record = records.read(run)
    assert record["started"] == "2020-01-01T00:00:00+00:00"
    assert record["ended"] > "2026"
