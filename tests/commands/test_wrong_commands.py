"""Wrong command lines: each is refused in one line that says what is wrong, and leaves nothing behind."""

import io
import logging
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from helpers.command import train
from helpers.places import ROOT
from longlag import records
from longlag.cli import main
from longlag.settings import CHOICES, RANGES

SMALL = (
    *("max_steps=4", "validation.every=2", "validation.sequences=16", "eval.sequences=16", "logger=none"),
    *("trainer=cpu", "lag=6", "model.hidden_size=8"),
)
NEEDS = {  # the choices with which a setting is there
    "model.feed_forward_size": "model=transformer",
    "model.num_heads": "model=transformer",
    "task.facts": "task=text_fact",
    "task.window": "task=sine",
    "task.noise": "task=sine",
    "task.symbols": "task=temporal_order",
    "task.distractors": "task=long_lag_1997",
    "task.sample": "task=text",
    "task.temperature": "task=text",
    "lag_mode.first": "lag_mode=curriculum",
    "lag_mode.factor": "lag_mode=curriculum",
    "lag_mode.threshold": "lag_mode=curriculum",
    "logger.wandb.timeout": "logger=wandb",
    "logger.csv.flush_logs_every_n_steps": "logger=csv",
}
VALUES = ("null", "-1", "[]", "{}", "1e400", "nan", "''", "true", "[1]", "-inf", "${seed}abc")


def out_of_range() -> Iterator[tuple[str, str]]:
    """Of every setting with a range, in turn: a word, or one of VALUES that it may not have."""
    for at, (key, allowed) in enumerate(RANGES.items()):
        turned = VALUES[at % len(VALUES) :] + VALUES[: at % len(VALUES)]
        wrong = [value for value in turned if allowed.problem(value_of(value))]
        yield f"{NEEDS.get(key, '')} {key}={['abc', *wrong][at % 2]}".strip(), f"{key} must be a "
    for key in CHOICES:
        for value in ("abc", "null"):
            yield f"{key}={value}", f"{key} must be one of "


def value_of(word: str) -> object:
    return OverridesParser.create().parse_override(f"key={word}").value()


LINES = [
    # keys that do not exist
    ("laag=10", "laag: there is no such setting; did you mean lag?"),
    ("+laag=10", "laag: there is no such setting; did you mean lag?"),
    ("++laag=10", "did you mean lag?"),
    ("~laag", "did you mean lag?"),
    ("max_step=10", "did you mean max_steps?"),
    ("hidden_size=10", "did you mean model.hidden_size?"),
    ("hiden_size=10", "did you mean model.hidden_size?"),
    ("payload=3", "did you mean task.payload?"),
    ("devices=2", "did you mean trainer.devices?"),
    ("model.hiden_size=5", "model.hiden_size: there is no such setting; did you mean model.hidden_size?"),
    ("+model.hiden_size=5", "did you mean model.hidden_size?"),
    ("model=transformer model.num_head=2", "did you mean model.num_heads?"),
    ("model=rnn model.t_max=5", "model.t_max: there is no such setting; `python train.py --help` lists them"),
    ("model.foo=5", "model.foo: there is no such setting"),
    ("+model.foo=5", "model.foo: there is no such setting"),
    ("task.fillr=random", "did you mean task.filler?"),
    ("+task.foo=5", "task.foo: there is no such setting"),
    ("task=sine task.payload=2", "task.payload: there is no such setting"),
    ("validation.evry=5", "did you mean validation.every?"),
    ("+validation.evry=5", "did you mean validation.every?"),
    ("+eval.lag=[5]", "did you mean eval.lags?"),
    ("+runtime.foo=1", "runtime.foo: there is no such setting"),
    ("+budget.step=1", "budget.step: there is no such setting"),
    ("optimizer.foo=1", "optimizer.foo: there is no such setting"),
    ("+optimizer.foo=1", "optimizer.foo: there is no such setting"),
    ("logger.foo=1", "logger.foo: there is no such setting"),
    ("logger=wandb +logger.wandb.foo=1", "logger.wandb.foo: there is no such setting"),
    ("lag_mode.first=5", "lag_mode.first: there is no such setting"),
    ("launcher=processes", "launcher: there is no such setting"),
    ("tune.over=[lr]", "tune.over: there is no such setting"),
    ("hydra.foo=5", "hydra.foo: there is no such setting"),
    # Lightning's settings
    ("+trainer.max_steps=5", "trainer.max_steps is Lightning's and has no effect here: set max_steps"),
    ("trainer.max_steps=5", "set max_steps"),
    ("+trainer.max_epochs=5", "set max_steps"),
    ("+trainer.max_time=5", "set budget.seconds"),
    ("+trainer.val_check_interval=5", "set validation.every"),
    ("+trainer.check_val_every_n_epoch=5", "set validation.every"),
    ("+trainer.limit_val_batches=5", "set validation.sequences"),
    ("+trainer.accumulate_grad_batches=2", "gradients are not accumulated: set batch_size"),
    ("+trainer.gradient_clip_algorithm=value", "the norm of the gradient is clipped"),
    ("+trainer.logger=true", "logger=csv"),
    ("+trainer.fast_dev_run=true", "set max_steps"),
    ("+trainer.callbacks=[]", "trainer.callbacks: there is no such setting"),
    ("+trainer.foo=5", "trainer.foo: there is no such setting"),
    # choices that do not exist
    ("model=lstn", "model=lstn: there is no such choice; did you mean lstm?"),
    ("model=", "model must be one of gru,"),
    ("model=null", "model must be one of gru,"),
    ("model=5", "model must be one of gru,"),
    ("model=[lstm]", "model must be one of gru,"),
    ("model=[lstm,gru]", "model must be one of gru,"),
    ("task=coppy", "did you mean copy?"),
    ("task=null", "task must be one of adding,"),
    ("task=", "task must be one of adding,"),
    ("trainer=tpu", "trainer=tpu: there is no such choice; there are auto, cpu, ddp, gpu"),
    ("trainer=null", "trainer must be one of auto,"),
    ("logger=nul", "logger=nul: there is no such choice"),
    ("logger=null", "logger must be one of csv, none, wandb"),
    ("lag_mode=curiculum", "did you mean curriculum?"),
    ("lag_mode=null", "lag_mode must be one of curriculum,"),
    ("experiment=gapp", "did you mean gap?"),
    ("experiment=null", "experiment must be one of "),
    ("experiment=tune_optuna", "pip install 'longlag[optuna]'"),
    ("tuned=coppy", "there is no conf/tuned/coppy.yaml"),
    ("tuned=null", "tuned must be one of "),
    ("hydra/launcher=nothing", "there are basic, in_process, processes, ray, submitit_local, submitit_slurm"),
    ("hydra/sweeper=nothing", "hydra/sweeper=nothing: there is no such choice"),
    ("hydra/sweeper=optuna", "pip install 'longlag[optuna]'"),
    # groups of settings that hold none
    *((f"{name}=null", f"{name} must hold settings, such as {name}.") for name in ("validation", "eval", "runtime")),
    *((f"{name}=5", f"{name} must hold settings, such as {name}.") for name in ("validation", "eval", "budget")),
    ("budget=null", "budget must hold settings"),
    ("runtime=[]", "runtime"),
    ("optimizer=null", "optimizer must hold settings, such as optimizer._target_"),
    ("optimizer=torch.optim.SGD", "optimizer must hold settings, such as optimizer._target_"),
    ("tune=5", "tune"),
    ("published=5", "published must hold settings or be null, got 5"),
    ("+tune.over=[lr]", "tune: only a sweep chooses among its runs"),
    # what is taken away
    *((f"~{name}", f"{name} is missing: every run needs it") for name in ("validation", "validation.every", "trainer")),
    *((f"~{name}", f"{name} is missing: every run needs it") for name in ("logger", "optimizer", "runtime.threads")),
    ("~trainer.accelerator", "trainer.accelerator is missing: every run needs it"),
    ("~model", "model"),
    ("~task", "task"),
    ("~lag", "lag"),
    ("~eval.lags", "eval.lags cannot be removed; give it a value"),
    ("~model._target_", "_target_"),
    ("~hydra", "hydra"),
    # no KEY=VALUE
    *(
        (word, f"{word}: cannot be read as KEY=VALUE")
        for word in ("lag", "lag==5", "lag=[5", "lag=(5", "seed=choice()")
    ),
    *((word, f"{word}: cannot be read as KEY=VALUE") for word in ("'lag=5", "lag={5", "hydra", "lag=5]")),
    ("=5", "longlag: "),
    ("lag=${nothing}", "'nothing' not found"),
    ("lag=${lag}", "Recursive interpolation"),
    ("lag=${times:a,b}", "can't multiply"),
    ("lag=${nothing:5}", "nothing"),
    # sweeps without -m, and what only sweeps heed
    *((word, f"{word}: several values make a sweep: add -m") for word in ("lag=10,100", "seed=range(0,0)", "seed=0,1")),
    *((word, f"{word}: several values make a sweep: add -m") for word in ("model=lstm,gru", "tuned=copy,none")),
    ("seed=choice(1,2)", "add -m"),
    ("seed=glob(*)", "add -m"),
    ("hydra/launcher=processes", "hydra/launcher=processes: only a sweep heeds that; add -m"),
    ("hydra/launcher=processes hydra.launcher.gpus=abc", "only a sweep heeds that"),
    ("hydra.sweep.dir=here", "only a sweep heeds that"),
    # folders
    ("resume=", "resume= must name the folder"),
    ("resume=[1]", "resume= must name the folder"),
    ("resume={a:1}", "resume= must name the folder"),
    ("resume=nothing", "nothing holds no run"),
    ("resume=5", "5 holds no run"),
    ("resume=.", ". holds no run"),
    ("resume=/etc/passwd", "/etc/passwd holds no run"),
    ("hydra.run.dir=", "hydra.run.dir names no folder"),
    ("hydra.run.dir=null", "hydra.run.dir"),
    ("hydra.run.dir=[1]", "hydra.run.dir"),
    ("hydra.run.dir=/proc/nothing", "/proc/nothing: No such file or directory"),
    ("--config-dir=nothing", "nothing' not found"),
    ("--config-name=nothing", "Cannot find primary config 'nothing'"),
    # options
    ("--foo", "unrecognized arguments: --foo; --help says what there is"),
    ("-x", "unrecognized arguments: -x"),
    ("--cfg=abc", "invalid choice: 'abc'"),
    ("--info=abc", "invalid choice: 'abc'"),
    ("--multirun=5", "ignored explicit argument '5'"),
    ("--resolve", "--resolve"),
    ("hydra.mode=abc", "hydra.mode=abc"),
    ("hydra.job.chdir=abc", "hydra.job.chdir=abc"),
    # devices
    ("trainer.devices=[0,0]", "a list of device numbers (each of them once), or auto, got [0, 0]"),
    ("trainer.devices=[0]", "the devices of a CPU have no numbers; give how many to use"),
    ("trainer.devices=[0,1]", "the devices of a CPU have no numbers; give how many to use"),
    *(
        (f"trainer.devices={value}", "trainer.devices must be a whole number")
        for value in ("[a]", "[-1]", "[]", "1.5", "0")
    ),
    ("trainer.devices=3", "cannot be shared evenly among 3 devices"),
    ("trainer.num_nodes=2", "trainer.num_nodes=2 needs srun or torchrun"),
    ("trainer.accelerator=tpu", "trainer.accelerator must be one of auto, cpu, gpu, cuda, mps, got tpu"),
    ("trainer.accelerator=[cpu]", "trainer.accelerator must be one of"),
    # what may be made
    ("trainer._target_=null", "_target_"),
    ("model._target_=abc", "_target_ 'abc' is not allowed"),
    ("model._target_=builtins.eval", "_target_ builtins.eval is not allowed"),
    ("model._target_=[a]", "_target_"),
    ("model._target_=longlag.models.lstm.LSTN", "LSTN"),
    ("optimizer._target_=torch.optim.Adma", "torch.optim.Adma"),
    # lists and texts
    *((f"eval.lags={value}", "eval.lags must be a list of whole numbers") for value in ("[]", "5", "[abc]", "[[1]]")),
    *(
        (f"eval.lags={value}", "eval.lags must be a list of whole numbers")
        for value in ("{a:1}", "[null]", "[1e3]", "abc")
    ),
    ("eval.lags=[1]", "lag must be at least payload + 1 = 2, got 1"),
    ("logger=wandb logger.wandb.project=null", "logger.wandb.project must be a text"),
    ("logger=wandb logger.wandb.dir=5", "logger.wandb.dir must be a text"),
    ("logger=wandb logger.wandb.tags=5", "logger.wandb.tags must be a list of words"),
    ("logger=wandb logger.wandb.mode=abc", "logger.wandb.mode must be one of auto, online, offline"),
    ("task=text task.prompt=null", "task.prompt must be a text"),
    ("task=text task.corpus=nothing", "no file nothing"),
    ("task=text task.corpus=null", "task.corpus must be"),
    *(
        (f"task=text task.split={value}", "task.split must be two or three fractions")
        for value in ("[1]", "abc", "[a,b]")
    ),
    # what does not go together
    ("task.payload=10", "lag must be at least payload + 1 = 11, got 6"),
    ("task.filler=null", "task.filler must be one of random, blank"),
    ("task=adding task.form=abc", "task.form must be one of arjovsky, hochreiter"),
    ("task=temporal_order lag=5", "lag must be at least 10, got 5"),
    ("task=text lag=100000000", "lag must lie from 1 to half"),
    ("model.init=abc", "it takes torch, orthogonal, forget_one, chrono"),
    ("model=transformer model.init=chrono", "it takes torch"),
    ("model=transformer model.num_heads=3", "is not divisible by model.num_heads=3"),
    ("model=lstm_scratch model.impl=abc", "model.impl must be one of auto, native, fused, reference"),
    ("model.dropout=0.5", "needs model.num_layers of at least 2"),
    ("lag_mode=curriculum lag_mode.first=100", "lag_mode.first must lie from 2 to lag=6"),
    ("lag_mode=curriculum lag_mode.threshold=2", "lag_mode.threshold must be above 0 and at most 1"),
    ("budget.sequences=1", "less than one batch of batch_size=32"),
    ("budget.core_parameters=1", "no width of this model comes within 2%; the nearest number is"),
    ("budget.parameters=1", "no width of this model comes within 2%; the nearest number is"),
    ("optimizer.lr=abc", "the optimizer does not take these settings"),
    ("optimizer.lr=-1", "Invalid learning rate: -1"),
    ("+optimizer.betas=[0.9]", "the optimizer does not take these settings"),
    ("+optimizer.weight_decay=abc", "the optimizer does not take these settings"),
    # what memory cannot hold, and what the machine cannot do
    ("lag=100000000000", "of memory; this machine has"),
    ("eval.lags=[100000000000]", "a test at lag 100000000000 needs at least"),
    ("batch_size=100000000000", "of memory; this machine has"),
    ("budget.parameters=1000000000000", "must fit in the memory of this machine"),
    ("model.hidden_size=1000000000", "out of memory"),
    ("model.hidden_size=1000000", "out of memory"),
    ("model.num_layers=1000000000", "model.num_layers must be a whole number of at least 1 and below 10000"),
    ("runtime.threads=100000", "runtime.threads must be a whole number of at least 1 and below 1025"),
]
SWEEPS = [
    ("lag=abc seed=0,1,2", "lag must be a whole number of at least 1, got abc (3 of 3 runs): nothing was run"),
    ("lag=abc,10", "got abc (1 of 2 runs): nothing was run"),
    ("seed=0,1 validation=null", "validation must hold settings, such as validation.every, got null (2 of 2 runs)"),
    ("seed=0,1 +trainer.max_steps=5", "set max_steps (2 of 2 runs)"),
    ("seed=range(0,0)", "the sweep has no runs"),
    ("seed=choice()", "cannot be read as KEY=VALUE"),
    ("model=lstm,lstn", "did you mean lstm?"),
    ("model=null", "model must be one of"),
    ("laag=1,2", "did you mean lag?"),
    ("trainer.max_steps=5 seed=0,1", "set max_steps"),
    ("hydra/launcher=nothing", "there is no such choice"),
    ("hydra/launcher=ray", "pip install 'longlag[ray]'"),
    ("hydra.sweep.dir= seed=0,1", "hydra.sweep.dir names no folder"),
    ("hydra.sweep.dir=null seed=0,1", "hydra.sweep.dir"),
    ("hydra.sweep.subdir=x seed=0,1", "hydra.sweep.subdir gives several runs the same folder"),
    ("resume= seed=0,1", "resume= must name the folder"),
    ("resume=[1] seed=0,1", "resume= must name the folder"),
    ("resume=nothing seed=0,1", "nothing holds no sweep"),
    *((f"hydra/launcher=processes hydra.launcher.gpus={value}", "gpus must be a list of GPU numbers")
      for value in ("abc", "[a]", "[-1]", "[]", "[0,0]", "[[0],[]]", "5")),
    *((f"hydra/launcher=processes hydra.launcher.workers={value}", "hydra.launcher.workers must be a whole number")
      for value in ("abc", "0", "-1", "1.5")),
    *((f"hydra/launcher=processes hydra.launcher.timeout={value}", "hydra.launcher.timeout must be a number above 0")
      for value in ("abc", "0", "nan")),
    ("hydra/launcher=processes +hydra.launcher.foo=5", "foo"),
    ("experiment=gapp", "did you mean gap?"),
    ("experiment=tune model=lstm lag=abc hydra/launcher=in_process", "got abc (12 of 12 runs): nothing was run"),
    ("experiment=tune model=lstm tune.over=[] lr=0.1 hydra/launcher=in_process", "tune.over must be a list"),
    ("experiment=tune model=lstm tune.over=[foo] lr=0.1 hydra/launcher=in_process", "has no setting foo"),
    ("experiment=tune model=lstm eval.sequences=5 lr=0.1 hydra/launcher=in_process", "set eval.sequences=0"),
    *((f"experiment=horizon {words}", said) for words, said in (
        ("lag=5", "the search chooses lag and seed itself"),
        ("seed=5", "the search chooses lag and seed itself"),
        ("max_lag=5", "did you mean hydra.sweeper.max_lag?"),
        ("hydra.sweeper.first_lag=0", "hydra.sweeper.first_lag must be a whole number of at least 1, got 0"),
        ("hydra.sweeper.max_lag=abc", "hydra.sweeper.max_lag must be a whole number of at least 4, got abc"),
        ("hydra.sweeper.trials=null", "hydra.sweeper.trials must be a whole number of at least 1, got null"),
        ("hydra.sweeper.at_once=0", "hydra.sweeper.at_once must be a whole number of at least 1, got 0"),
        ("hydra.sweeper.over=lag", "over=lag needs values, such as over=model.hidden_size=16,32,64"),
        ("hydra.sweeper.resolution=abc", "hydra.sweeper.resolution must be a number above 1, got abc"),
        ("hydra/launcher=in_process validation=null", "validation must hold settings"),
        ("hydra/launcher=in_process task=text", "no run can count as solved"),
    )),
]  # fmt: skip
SCRIPTS = [
    ("evaluate", "no run folder was given; usage: "),
    ("evaluate nothing", "nothing holds no run"),
    ("evaluate file", "file holds no run"),
    ("evaluate broken", "broken/record.json is not a record"),
    ("evaluate unweighted", "unweighted has no model.ckpt"),
    ("evaluate damaged", "damaged/model.ckpt is not the file that this run wrote"),
    ("evaluate run lag=5", "only eval.lags and eval.sequences can be changed here"),
    ("evaluate run eval=null", "only eval.lags and eval.sequences can be changed here"),
    ("evaluate run eval.lags=abc", "eval.lags must be a list"),
    ("evaluate run eval.lags=", "eval.lags must be a list"),
    ("evaluate run eval.lags=[1]", "lag must be at least payload + 1 = 2, got 1"),
    ("evaluate run eval.lags=10,100", "a list is written in brackets"),
    ("evaluate run eval.lags=[5", "cannot be read as KEY=VALUE"),
    ("evaluate run eval.lags=[100000000000]", "a test at lag 100000000000 needs at least"),
    ("evaluate run eval.sequences=0", "say how many"),
    ("evaluate run eval.sequences=abc", "eval.sequences must be a whole number"),
    ("evaluate run foo", "cannot be read as KEY=VALUE"),
    ("evaluate --foo", "no run folder was given; usage: "),
    ("gates", "the following arguments are required: RUN_FOLDER"),
    ("gates nothing", "nothing holds no run"),
    ("gates broken", "is not a record"),
    ("gates unweighted", "unweighted has no model.ckpt"),
    ("gates run foo", "unrecognized arguments: foo"),
    ("gates transformer", "Transformer has no gates to show"),
    ("table", "the following arguments are required: FOLDER"),
    ("table nothing", "nothing holds no run"),
    ("table run file", "file holds no run"),
    ("table run --rows model", "--rows and --columns make a pivot table together; give both"),
    ("table run --rows model --columns foo", "foo: the runs have no such setting"),
    ("table run --figure x.foo", "Format 'foo' is not supported"),
    ("table run --figure nothing/x.png", "nothing/x.png: No such file or directory"),
    ("table run --figure", "expected one argument"),
    ("table run --csv empty", "empty: Is a directory"),
    ("table run --markdown nothing/x.md", "nothing/x.md: No such file or directory"),
    ("report", "the following arguments are required: FOLDER"),
    ("report empty", "empty holds no run"),
    ("report run --to nothing/x.html", "nothing/x.html: No such file or directory"),
    ("report run --figures file", "file: File exists"),
    ("report run --wandb foo", "--wandb must be ENTITY/PROJECT, got foo"),
    ("horizon foo", "cannot be read as KEY=VALUE"),
    ("horizon lag=5", "the search chooses lag and seed itself"),
    ("horizon max_lag=2", "hydra.sweeper.max_lag must be a whole number of at least 4, got 2"),
    ("horizon seeds=3", "seeds: each trial has a seed of its own; give trials=24"),
    ("horizon over=", "over must name a setting and its values, such as over=model.hidden_size=16,32,64"),
    ("horizon over=lag", "over must name a setting and its values, such as over=model.hidden_size=16,32,64"),
    ("horizon over=lag=5,6", "the search chooses lag and seed itself"),
    ("horizon over=model.hidden_size=16", "over=model.hidden_size needs values, such as over=model.hidden_size=16,32"),
    ("horizon over=model=rnn,lstm", "over=model: its values must be numbers, got rnn"),
    ("horizon over=lr=.1,null", "over=lr: its values must be numbers, got null"),
    ("horizon over=lr=.1,.2 over=batch_size=8,16", "over names one setting, got lr and batch_size"),
    ("horizon workers=0", "hydra.launcher.workers must be a whole number of at least 1, got 0"),
    ("horizon model=lstn", "did you mean lstm?"),
    ("horizon resume=", "resume= must name the folder"),
    ("horizon resume=nothing", "nothing holds no run"),
    ("horizon foo=5", "foo: there is no such setting"),
    ("horizon --foo", "unrecognized arguments: --foo"),
    ("verify foo", "foo: there is no such preset; there are "),
    ("verify --kept foo", "foo: there is no such preset"),
    ("verify --resume nothing", "nothing holds no sweep"),
    ("verify --workers abc", "argument --workers: invalid int value: 'abc'"),
    ("verify --workers 0 hochreiter_2c_q100", "--workers must be a whole number of at least 1, got 0"),
    ("verify --to file hochreiter_2c_q100", "--to file is not a folder; choose another"),
]
SINGLE = [*out_of_range(), *LINES]  # as all of them, with words of the one line that is the answer


def test_there_are_enough_of_them():
    lines = [(name, line) for name, table in (("", SINGLE), ("-m", SWEEPS), ("scripts", SCRIPTS)) for line, _ in table]
    assert len(set(lines)) == len(lines) >= 250


def ended(main_of_it: object) -> tuple[int, str]:
    """The exit code, and what stood on standard error."""
    said = io.StringIO()
    with redirect_stdout(io.StringIO()), redirect_stderr(said), pytest.MonkeyPatch.context() as patch:
        patch.setattr(logging.root, "handlers", [])  # Hydra sets logging up for a process of its own
        try:
            main_of_it()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
            said.write("" if isinstance(stop.code, int) else f"{stop.code}\n")
            return code, said.getvalue()
    return 0, said.getvalue()


def is_one_line(code: int, error: str, said: str) -> None:
    assert code != 0, error
    assert error.startswith("longlag: "), error
    assert error.count("\n") == 1, error
    assert said in error
    assert "Traceback" not in error
    assert "append to your config" not in error  # Hydra advises `+`, which would only hide the mistake


def refused(folder: Path, arguments: list[str], said: str, patch: pytest.MonkeyPatch) -> None:
    patch.chdir(folder)
    patch.setattr(sys, "argv", ["train.py", *arguments])
    is_one_line(*ended(lambda: main(["train", *arguments])), said)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(("line", "said"), SINGLE)
def test_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, said: str):
    refused(tmp_path, [*SMALL, *line.split()], said, monkeypatch)


@pytest.mark.parametrize(("line", "said"), SWEEPS)
def test_a_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, said: str):
    refused(tmp_path, ["-m", "logger=none", "trainer=cpu", "model.hidden_size=8", *line.split()], said, monkeypatch)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with runs, whole and damaged, and without."""
    folder = tmp_path_factory.mktemp("made")
    for model in ("lstm", "transformer"):
        assert train(folder, *SMALL, f"model={model}", f"hydra.run.dir={model}")[0] == 0
    (folder / "lstm").rename(folder / "run")
    for name in ("unweighted", "damaged"):
        shutil.copytree(folder / "run", folder / name)
    (folder / "unweighted" / records.WEIGHTS).unlink()
    (folder / "damaged" / records.WEIGHTS).write_text("weights")
    for name in ("empty", "broken"):
        (folder / name).mkdir()
    (folder / "broken" / records.FILE).write_text("{")
    (folder / "file").touch()
    return folder


@pytest.mark.parametrize(("line", "said"), SCRIPTS)
def test_a_script(made: Path, monkeypatch: pytest.MonkeyPatch, line: str, said: str):
    script, *arguments = line.split()
    path = str(ROOT / "scripts" / f"{script}.py")
    before = sorted(made.rglob("*"))
    monkeypatch.chdir(made)
    monkeypatch.setattr(sys, "argv", [path, *arguments])
    is_one_line(*ended(lambda: runpy.run_path(path, run_name="__main__")), said)
    assert sorted(made.rglob("*")) == before


@pytest.mark.parametrize(
    ("script", "argument", "said"),
    [
        ("train.py", "laag=10", "did you mean lag?"),
        ("train.py", "--foo", "--foo"),
        ("scripts/gates.py", "no", "no run"),
    ],
)
def test_a_process_says_the_same(tmp_path: Path, script: str, argument: str, said: str):
    command = [sys.executable, str(ROOT / script), argument]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    is_one_line(done.returncode, done.stderr, said)
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_tuning_is_refused_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    said = "lag must be a whole number of at least 1, got abc (108 of 108 runs): nothing was run"
    refused(tmp_path, ["experiment=tune", "lag=abc"], said, monkeypatch)


def test_what_only_each_run_can_find_out_is_told_once_and_counted(tmp_path: Path):
    code, said = train(tmp_path, "-m", "logger=none", "lag=5", "task.payload=9", "seed=0,1,2")
    assert code == 1
    assert said.count("lag must be at least payload + 1 = 10, got 5") == 3  # as it happens, in the table, at the end
    assert "(and 2 more)" in said
    assert said.endswith("got 5 (3 of 3 runs): nothing was run\n")
    assert list(tmp_path.iterdir()) == []


def test_a_model_of_the_users_own_has_its_own_settings(tmp_path: Path):
    (tmp_path / "mine" / "model").mkdir(parents=True)
    yaml = {"lr": 0.1, "model": {"_target_": "mycell.Cell", "hidden_size": 4, "wobble": 1}}
    (tmp_path / "mine" / "model" / "own.yaml").write_text("# @package _global_\n" + OmegaConf.to_yaml(yaml))
    code, said = train(tmp_path, "--config-dir", "mine", "model=own", "model.woble=2")
    assert (code, said) == (1, "longlag: model.woble: there is no such setting; did you mean model.wobble?\n")
