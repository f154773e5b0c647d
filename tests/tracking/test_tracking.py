"""W&B: offline by itself, everything under exact names, closed as it ended, and never the reason a run is lost."""

import csv
import json
import logging
import runpy
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb

from helpers.places import ROOT
from helpers.wandb_files import inspect, offline_runs
from longlag import records
from longlag.tasks.copy import Copy
from longlag.tracking import wandb_runs
from longlag.tracking.logger import Wandb

MEASURES = ("loss", "accuracy", "exact_match", "loss_all_steps")
SYNC = "To send this run later: wandb sync"


class Broken:
    """A W&B run of which nothing works."""

    config: dict = {}  # noqa: RUF012

    def __getattr__(self, name: str) -> Any:
        raise ConnectionError(f"no {name} today")


@pytest.fixture(autouse=True)
def _quiet_process(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """W&B's background process reads the environment when it starts, so that every test gets one of its own."""
    caplog.set_level(logging.INFO, logger="longlag")
    yield
    wandb.teardown()


def of_type(found: list[dict], name: str) -> list[dict]:
    return [entry[name] for entry in found if entry["type"] == name]


def summary_of(found: list[dict]) -> dict:
    merged: dict = {}
    for entry in of_type(found, "summary"):
        merged |= entry.get("update", {})
    return merged


def metrics(folder: Path) -> list[dict]:
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def tracked(run_small, tmp_path: Path) -> tuple[records.Record, list[dict]]:
    _, record = run_small("logger=wandb", "max_steps=20", "validation.every=10")
    return record, inspect(tmp_path)


def test_offline_by_itself_and_said_once(run_small, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    run_small("logger=wandb")
    (run,) = offline_runs(tmp_path)
    said = [line for line in caplog.messages if "W&B" in line or SYNC in line]
    assert said == [f"W&B is offline (not logged in). {SYNC} {run}"]


def test_all_of_a_run_reaches_it(tracked):
    record, found = tracked
    history = [entry["item"] for entry in of_type(found, "history")]
    config = of_type(found, "run")[0]["config"]["update"]
    assert config["config"] == record["config"]
    assert (config["lag"], config["config_hash"]) == (6, record["config_hash"])
    for split, step in (("train", 10), ("val", 10)):
        (at,) = [row for row in history if f"{split}/loss" in row and row["trainer/global_step"] == step]
        assert {f"{split}/{name}" for name in MEASURES} <= set(at)
    points = [row for row in history if "lag_curve/lag" in row]
    assert [(row["lag_curve/lag"], row["lag_curve/accuracy"]) for row in points] == [
        (point["lag"], point["accuracy"]) for point in record["lag_curve"]
    ]
    assert sum("gradient/log10_norm" in row for row in history) == len(record["gradient"])
    assert sum("gradient/log10_state_norm" in row for row in history) == len(record["gradient"])
    assert [row["gradient_scalars/step"] for row in history if "gradient_scalars/step" in row] == [
        scalars["step"] for scalars in record["gradient_scalars"]
    ]
    assert sum(any(name.startswith("lag_curve/picture") for name in row) for row in history) == 1
    summary = summary_of(found)
    assert (summary["status"], summary["solved"]) == ("finished", False)
    assert summary["test/accuracy"] == record["test"]["accuracy"]
    assert summary["cost/parameters"] == record["cost"]["parameters"]


def test_the_picture_is_the_runs(tracked, tmp_path: Path):
    (picture,) = offline_runs(tmp_path)[0].glob("files/media/images/lag_curve/*.png")
    assert picture.read_bytes() == (tmp_path / "run" / "lag_curve.png").read_bytes()


def test_generated_text_and_the_figures_of_a_text_run_reach_it(run_small, tmp_path: Path):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("In the beginning was the word, and it was long. " * 40, encoding="utf-8")
    _, record = run_small("logger=wandb", "task=text", f"task.corpus={corpus}", "task.sample=30")
    (file,) = offline_runs(tmp_path)[0].glob("files/media/table/example/*.table.json")
    sample = record["example"]["sample"]
    assert json.loads(file.read_text(encoding="utf-8"))["data"] == [[sample["about"], sample["text"]]]
    found = inspect(tmp_path)
    axes = {metric.get("name"): metric.get("step_metric") for metric in of_type(found, "metric")}
    assert axes["lag_curve/bits_per_character"] == "lag_curve/lag"
    assert summary_of(found)["test/perplexity"] == record["test"]["perplexity"]


def test_metric_names_are_exact(tracked):
    defined = of_type(tracked[1], "metric")
    axes = {metric.get("name"): metric.get("step_metric") for metric in defined}
    assert not [metric for metric in defined if "glob_name" in metric or "*" in str(metric.get("name"))]
    assert {f"{split}/{name}" for split in ("train", "val") for name in MEASURES} <= set(axes)
    assert axes["train/loss"] == axes["train/lr"] == axes["val/chance"] == "trainer/global_step"
    assert axes["lag_curve/accuracy"] == axes["lag_curve/chance"] == "lag_curve/lag"
    assert axes["gradient/log10_norm"] == axes["gradient/log10_state_norm"] == "gradient/distance"
    assert axes["gradient_scalars/horizon"] == "gradient_scalars/step"
    assert "gradient/distance" not in axes


def test_a_good_run_is_closed_as_good(tracked):
    (end,) = of_type(tracked[1], "exit")
    assert end.get("exit_code", 0) == 0
    assert wandb.run is None


def test_a_failed_run_is_closed_as_failed(run_small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(Copy, "measure", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        run_small("logger=wandb")
    found = inspect(tmp_path)
    assert of_type(found, "exit")[0]["exit_code"] == 1
    assert summary_of(found)["status"] == "failed"
    assert wandb.run is None


def test_a_second_run_does_not_log_into_the_first(run_small, tmp_path: Path):
    for name in ("one", "two"):
        run_small("logger=wandb", folder=tmp_path / name)
    assert len(offline_runs(tmp_path)) == 2


def test_a_server_that_is_down(run_small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog):
    with socket.socket() as closed:  # its port is free again once it is closed
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef" * 2 + "01234567")
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{port}")
    _, record = run_small("logger=wandb", "logger.wandb.timeout=2")
    assert record["status"] == "finished"
    assert len(offline_runs(tmp_path)) == 1
    (said,) = [line for line in caplog.messages if "W&B" in line]
    assert SYNC in said
    assert "not logged in" not in said


def test_a_broken_wandb_does_not_stop_a_run(run_small, monkeypatch: pytest.MonkeyPatch, caplog):
    monkeypatch.setattr("longlag.tracking.wandb_runs.start", lambda *_, **__: Broken())
    folder, record = run_small("logger=wandb", "max_steps=20", "validation.every=10")
    assert record == records.read(folder)
    assert record["status"] == "finished"
    assert [row["step"] for row in metrics(folder) if row["val/loss"]] == ["10", "20"]
    assert [row["step"] for row in metrics(folder) if row["train/loss"]] == ["10", "20"]
    for what in ("define_metric", "log", "finish"):
        assert f"W&B: no {what} today; the run goes on without it" in caplog.messages


def test_a_broken_wandb_warns_once_and_not_at_every_step(run_small, monkeypatch: pytest.MonkeyPatch, caplog):
    monkeypatch.setattr("longlag.tracking.wandb_runs.start", lambda *_, **__: Broken())
    run_small("logger=wandb", "max_steps=40", "validation.every=10", "trainer.log_every_n_steps=1")
    assert sum("W&B: no log today" in line for line in caplog.messages) <= 2  # while training, and at the end


def test_a_wandb_that_cannot_even_start_does_not_stop_a_run(run_small, monkeypatch: pytest.MonkeyPatch, caplog):
    init = wandb.init

    def cannot(mode: str, **given: Any) -> Any:
        if mode != "disabled":
            raise OSError("no room")
        return init(mode=mode, **given)

    monkeypatch.setattr(wandb, "init", cannot)
    folder, record = run_small("logger=wandb")
    assert record["status"] == "finished"
    assert metrics(folder)
    assert [line for line in caplog.messages if "W&B" in line] == ["W&B: no room; the run goes on without it"]


def test_mode_with_a_typing_error(run_small, tmp_path: Path):
    with pytest.raises(ValueError, match=r"^logger\.wandb\.mode must be one of auto, online, offline, got onlin$"):
        run_small("logger=wandb", "logger.wandb.mode=onlin")
    assert not (tmp_path / "run" / records.FILE).exists()
    assert not (tmp_path / "wandb").exists()


def test_disabled_from_outside(run_small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    folder, record = run_small("logger=wandb")
    assert record["status"] == "finished"
    assert metrics(folder)
    assert not (tmp_path / "wandb").exists() or not list((tmp_path / "wandb").glob("*run-*"))
    assert not [line for line in caplog.messages if SYNC in line]


OWN = """
from pytorch_lightning.loggers import CSVLogger


class Mine(CSVLogger):
    def log_results(self, record, folder):
        (folder / "mine.txt").write_text(record["status"])
        raise ConnectionError("no answer")
"""


def test_a_logger_of_the_users_own_gets_the_results(run_small, tmp_path: Path, monkeypatch, caplog):
    (tmp_path / "mylogger.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("LONGLAG_ALLOW", "mylogger")
    folder, record = run_small("+logger.mine._target_=mylogger.Mine")
    assert (folder / "mine.txt").read_text() == record["status"] == "finished"
    assert "Mine: no answer; the results are in record.json" in caplog.messages


def test_folder_as_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("WANDB_DIR")
    logger = Wandb("longlag", "name", {"lag": 5}, dir=str(tmp_path / "here"), mode="offline")
    logger.close(ok=True)
    assert len(offline_runs(tmp_path / "here")) == 1


def test_a_picture_drawn_later_reaches_the_same_run(run_small, tmp_path: Path):
    folder, record = run_small("logger=wandb")
    (before,) = offline_runs(tmp_path)
    wandb_runs.add_picture(folder, record, folder / "lag_curve.png", "longlag")
    (after,) = set(offline_runs(tmp_path)) - {before}
    ids = {path.name.split("-")[3] for path in (before, after)}  # within one second W&B numbers the folders, too
    assert ids == {wandb_runs.run_id(folder, record)}
    (picture,) = after.glob("files/media/images/lag_curve/*.png")
    assert picture.read_bytes() == (folder / "lag_curve.png").read_bytes()


@pytest.mark.parametrize("arguments", [(), ("--wandb", "me/mine")], ids=["unasked", "asked"])
def test_only_who_asks_has_a_picture_sent(run_small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments):
    folder, record = run_small("logger=csv")
    record["config"]["logger"]["wandb"] = {"project": "theirs", "entity": "them", "dir": str(tmp_path / "elsewhere")}
    records.write(record, folder)
    monkeypatch.setattr(sys, "argv", ["gates.py", str(folder), *arguments])
    runpy.run_path(str(ROOT / "scripts" / "gates.py"), run_name="__main__")
    assert len(offline_runs(tmp_path)) == bool(arguments)
    assert not (tmp_path / "elsewhere").exists()
    if arguments:
        (started,) = of_type(inspect(tmp_path), "run")
        assert (started["entity"], started["project"]) == ("me", "mine")


def test_a_logger_writes_in_the_runs_folder(run_small, tmp_path: Path):
    for name in ("../elsewhere", str(tmp_path / "elsewhere")):
        with pytest.raises(ValueError, match="which is not in the run's folder"):
            run_small("logger=csv", f"logger.csv.name={name}")
    assert not (tmp_path / "elsewhere").exists()
    folder, _ = run_small("logger=csv", "logger.csv.name=metrics", folder=tmp_path / "inside")
    assert (folder / "metrics" / "metrics.csv").exists()
