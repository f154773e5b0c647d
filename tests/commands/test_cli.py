"""The command line: what it costs to ask, one line for every error, signals, and a sweep with a bad run."""

import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.command import ENDLESS, TRAIN, start
from longlag.cli import main
from longlag.commands.errors import errors_in_one_line
from longlag.settings import CONF
from longlag.sweeps.tuning_score import tuning_score

SMALL = [
    "max_steps=4",
    "validation.every=2",
    "validation.sequences=16",
    "eval.sequences=16",
    "logger=none",
    "trainer=cpu",
]
HEAVY = {"torch", "pytorch_lightning", "lightning", "wandb", "numpy", "scipy", "matplotlib"}


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd) -> Callable[..., tuple[int, str]]:
    """`python train.py …` in an empty folder, in this process: its exit code and what stands on standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging.root, "handlers", [])  # Hydra sets logging up for a process of its own

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
        try:
            main(["train", *sys.argv[1:]])
        except SystemExit as stop:
            said = capfd.readouterr().err
            return (1, f"{said}{stop.code}\n") if isinstance(stop.code, str) else (stop.code or 0, said)
        return 0, capfd.readouterr().err

    return run


def stop(process: subprocess.Popen, number: signal.Signals, once_there_is: Path) -> str:
    """Send the signal as soon as the file is there; returns what stood on standard error."""
    with process:  # closes its pipes
        try:
            while not once_there_is.exists():
                assert process.poll() is None, process.stderr.read()
                time.sleep(0.05)
            process.send_signal(number)
            return process.communicate(timeout=60)[1]
        finally:
            process.kill()


@pytest.fixture(scope="module")
def asked() -> dict[str, tuple[str, set[str]]]:
    """What `--help` and `--cfg job` print, and the packages they import."""
    answers = {}
    for question in ("--help", "--cfg=job"):
        done = subprocess.run(
            [sys.executable, "-X", "importtime", str(TRAIN), question], capture_output=True, text=True, check=True
        )
        imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
        answers[question] = done.stdout, imported
    return answers


@pytest.mark.parametrize("question", ["--help", "--cfg=job"])
def test_asking_imports_nothing_heavy(asked, question: str):
    _, imported = asked[question]
    assert {"hydra", "longlag"} <= imported
    assert not imported & HEAVY


def test_help_names_every_group_and_shows_examples(asked):
    text, _ = asked["--help"]
    for group in ("model", "task", "trainer", "logger"):
        choices = sorted(path.stem for path in (CONF / group).glob("*.yaml"))
        assert re.search(rf"^ *{group} +{', '.join(choices)}\n +\w", text, re.MULTILINE), group
    assert len(re.findall(r"^ +python train\.py .*\S  +\S", text, re.MULTILINE)) >= 3
    assert "published/" not in text.partition("Every setting")[0]
    assert re.search(r"^lag: 1000 +# steps between a symbol and its recall", text, re.MULTILINE)
    assert re.search(r"^  hidden_size: 64 +# units per layer$", text, re.MULTILINE)


def test_help_explains_the_settings_of_the_choices(capsys):
    main(["train", "--help", "model=lstm_peephole", "task=adding", "trainer=ddp"])
    text = capsys.readouterr().out
    settings = text.partition("they are:")[2].partition("--cfg job")[0]
    unexplained = [line for line in settings.splitlines() if line.strip() and "#" not in line]
    # a group of settings, and a setting that takes its value from another one, need no words of their own
    assert all(line.endswith(":") or "${" in line for line in unexplained), unexplained
    assert re.search(r"^  devices: 2 +# ", settings, re.MULTILINE)


def test_cfg_job_is_the_configuration(asked):
    text, _ = asked["--cfg=job"]
    assert re.search(r"^lag: 1000$", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["model=lstn"], "lstn"),
        (["task=coppy"], "coppy"),
        (["lagg=5"], "lagg"),
        (["model.hiden_size=5"], "hiden_size"),
        (["+max_step=5"], "max_step"),
        (["+model.hiden_size=5"], "hiden_size"),
        (["lag"], "lag"),
        (["lag=[5"], "lag"),
        (["lag=-5"], "lag must be a whole number of at least 1, got -5"),
        (["lag=5.5"], "lag must be a whole number of at least 1, got 5.5"),
        (["lag=3", "task.payload=10"], "lag must be at least payload + 1 = 11, got 3"),
        (["batch_size=0"], "batch_size must be a whole number of at least 1, got 0"),
        (["task.filler=sand"], "sand"),
        (["model=rnn", "model.init=chrono"], "model.init=chrono"),
        (["seed=100000000000000000000"], "seed"),
        (["eval.lags=[1]"], "lag"),
        (["optimizer._target_=torch.optim.Adma"], "torch.optim.Adma"),
        (["optimizer.momentum=1"], "momentum"),
        (["+optimizer.momentum=1"], "momentum"),
        (["model._target_=os.system"], "os.system"),
        (["logger=wandb", "logger.wandb.mode=onlin"], "onlin"),
        (["model=transformer", "model.hidden_size=10"], "model.hidden_size=10 is not divisible by model.num_heads=4"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_and_leaves_nothing(command, tmp_path: Path, arguments: list[str], said: str):
    code, error = command(*SMALL, *arguments)
    assert code != 0
    assert error.startswith("longlag: ")
    assert said in error
    assert error.count("\n") == 1
    assert "Traceback" not in error
    assert not (tmp_path / "outputs").exists()


def test_no_gpu(command, tmp_path: Path):
    import torch

    if torch.cuda.is_available() or torch.backends.mps.is_available():
        pytest.skip("there is a GPU here")
    code, error = command("trainer=gpu", "logger=none")
    assert (code, error) == (1, "longlag: trainer: there is no GPU here; use trainer=auto or trainer=cpu\n")
    assert not (tmp_path / "outputs").exists()


def test_output_folder_that_cannot_be_made(command, tmp_path: Path):
    (tmp_path / "file").write_text("")
    code, error = command(*SMALL, "hydra.run.dir=file/run")
    assert code == 1
    assert error.startswith("longlag: ")
    assert "file/run" in error
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_holds_a_run(command):
    assert command(*SMALL, "lag=6", "hydra.run.dir=run")[0] == 0
    code, error = command(*SMALL, "lag=6", "hydra.run.dir=run")
    assert code == 1
    assert "run holds a run already; go on with resume=" in error
    assert error.count("\n") == 1


def test_the_process_says_the_same(tmp_path: Path):
    process = start(tmp_path, "lag=-5")
    out, error = process.communicate()
    assert (process.returncode, out) == (1, "")
    assert error == "longlag: lag must be a whole number of at least 1, got -5\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["lag=-5"], ["model=lstn"]])
def test_full_error_on_demand(command, monkeypatch: pytest.MonkeyPatch, arguments: list[str]):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(Exception, match=r"-5|lstn") as error:
        command(*arguments)
    assert not isinstance(error.value, SystemExit)


def test_our_own_faults_keep_their_trace(command, monkeypatch: pytest.MonkeyPatch):
    def fault(*_: object) -> None:
        raise AssertionError("a fault of ours")

    monkeypatch.setattr("longlag.run.make_task", fault)
    with pytest.raises(AssertionError, match="a fault of ours"):
        command(*SMALL, "lag=6")


def test_ctrl_c(tmp_path: Path):
    process = start(tmp_path, *ENDLESS, "hydra.run.dir=run")
    error = stop(process, signal.SIGINT, once_there_is=tmp_path / "run" / "metrics.csv")
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert process.returncode == 130
    assert "Traceback" not in error
    assert (record["status"], record["error"]) == ("interrupted", "stopped from outside")
    assert record["cost"]["steps"] > 0


def test_terminated(tmp_path: Path):
    process = start(tmp_path, *ENDLESS, "hydra.run.dir=run")
    error = stop(process, signal.SIGTERM, once_there_is=tmp_path / "run" / "metrics.csv")
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert process.returncode != 0
    assert "Traceback" not in error
    assert record["status"] == "interrupted"


@pytest.mark.parametrize("lags", ["6,1", "1,6"])
def test_a_bad_cell_does_not_stop_a_sweep(command, tmp_path: Path, lags: str):
    code, error = command("-m", *SMALL, f"lag={lags}", "hydra.sweep.dir=sweep")
    assert code != 0
    assert "lag must be at least payload + 1 = 2, got 1" in error
    assert "Traceback" not in error
    (record,) = (tmp_path / "sweep").glob("*/record.json")
    assert json.loads(record.read_text())["status"] == "finished"
    assert [path for path in (tmp_path / "sweep").iterdir() if path.is_dir()] == [record.parent]


def test_the_sweeper_gets_the_score(command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from longlag.commands import train as cli

    scores, job = [], cli._job
    monkeypatch.setattr(cli, "_job", lambda cfg: scores.append(job(cfg)))
    assert command(*SMALL, "lag=6", "hydra.run.dir=run")[0] == 0
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert scores == [tuning_score(record)]
    assert record["test"]  # which it has nothing of
    assert record["command"] == " ".join(["python train.py", *SMALL, "lag=6"])


def test_the_environment_is_left_as_it_was(command):
    command("lag=-5")
    assert "HYDRA_FULL_ERROR" not in os.environ


def test_an_old_name_of_a_setting_is_taken_for_one_version(
    command: Callable[..., tuple[int, str]], tmp_path: Path, caplog
):
    code, _ = command("task=copy", "lag=5", *SMALL, "budget.give_up_at=0.5")
    assert code == 0
    assert "budget.give_up_at is now called budget.no_progress_at" in caplog.text
    (stored,) = tmp_path.rglob("record.json")
    assert json.loads(stored.read_text())["config"]["budget"]["no_progress_at"] == 0.5


def test_ctrl_c_without_words_says_so(capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit) as ended, errors_in_one_line([]):
        raise KeyboardInterrupt
    assert ended.value.code == 130
    assert capsys.readouterr().err == "longlag: interrupted\n"
