"""A sweep in W&B: its cells in one group, a curve for each model, and one run that compares them."""

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import wandb
from omegaconf import DictConfig, OmegaConf

from helpers.command import train
from helpers.made_up import failed, run, untested
from helpers.wandb_files import offline_runs, sent_later
from helpers.wandb_stub import Sent, Server
from longlag import records
from longlag.sweeps.launcher import track
from longlag.tracking.wandb_runs import run_id
from longlag.tracking.wandb_sweep import LONG, log_sweep

MADE_UP = [
    run(lag=10, seed=0),
    run(lag=10, seed=1, accuracy=0.5),
    run(lag=30, seed=0),
    run(model="gru", lag=10),
    failed(model="rnn", lag=10),
]
FAULTY = """
from torch import nn


class Faulty(nn.GRU):
    calls = 0

    def forward(self, x):
        self.calls += self.training  # each check works on a copy of its own
        if self.calls > 3:
            raise RuntimeError("a fault of the core")
        return super().forward(x)[0]
"""
YAML = "# @package _global_\nlr: 0.01\nmodel: {_target_: faulty.Faulty, hidden_size: 8, batch_first: true}\n"


@pytest.fixture(autouse=True)
def _quiet_process(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.INFO, logger="longlag")
    yield
    wandb.teardown()


@pytest.fixture
def settings(tmp_path: Path) -> dict:
    where = {"project": "longlag", "entity": None, "tags": ["mine"], "dir": str(tmp_path)}
    return where | {"mode": "offline", "timeout": 15, "group": "its own"}


def by_job(sent: dict[str, Sent]) -> dict[str, list[Sent]]:
    kinds: dict[str, list[Sent]] = {}
    for one in sorted(sent.values(), key=lambda one: one.upserted["displayName"]):
        kinds.setdefault(one.upserted["jobType"], []).append(one)
    return kinds


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [line for line in caplog.messages if "W&B" in line]


def points(curve: Sent, which: str) -> list[tuple[int, float, int]]:
    names = [f"{which}/{name}" for name in ("lag", "accuracy", "seeds")]
    return [tuple(row[name] for name in names) for row in curve.history if names[0] in row]


def table(comparison: Sent, name: str) -> dict:
    (file,) = [content for path, content in comparison.files.items() if path.startswith(f"media/table/{name}")]
    return json.loads(file)


def test_a_curve_for_each_model_and_one_comparison(settings: dict, tmp_path: Path, caplog):
    log_sweep(MADE_UP, "night", settings)
    sent = by_job(sent_later(*offline_runs(tmp_path)))
    assert {one.upserted["groupName"] for runs in sent.values() for one in runs} == {"night"}
    assert [one.exit_codes for runs in sent.values() for one in runs] == [[0], [0], [0]]
    gru, lstm = sent["curve"]
    assert [one.upserted["displayName"] for one in (gru, lstm)] == ["gru on copy", "lstm on copy"]
    assert points(lstm, "trained") == [(10, 0.75, 2), (30, 1.0, 1)]
    assert points(lstm, "tested") == [(15, 1.0, 1), (30, 1.0, 1), (60, 0.1, 1)]  # the network of lag 30
    assert points(gru, "trained") == [(10, 1.0, 1)]
    assert said(caplog) == [f"W&B is offline. To send the sweep later: wandb sync {tmp_path}/wandb/offline-run-*"]


def test_the_comparison_has_every_point_and_a_chart(settings: dict, tmp_path: Path):
    log_sweep(MADE_UP, "night", settings)
    (comparison,) = by_job(sent_later(*offline_runs(tmp_path)))["comparison"]
    long = table(comparison, "comparison/table")
    assert long["columns"] == list(LONG)
    assert len(long["data"]) == 4 * 3
    assert ["copy", "lstm", "", 1, 10, 20, 0.1, 0.125, True] in long["data"]
    chart = table(comparison, "comparison/accuracy_table")
    assert sorted(chart["data"]) == [[10, "gru on copy", 1.0], [10, "lstm on copy", 0.75], [30, "lstm on copy", 1.0]]
    shown = json.loads(comparison.upserted["config"])["_wandb"]["value"]["visualize"]["comparison/accuracy"]
    assert shown["panel_config"]["panelDefId"] == "wandb/lineseries/v0"


def test_the_same_sweep_has_the_same_runs_and_another_has_others(
    settings: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    ids = []
    for number, group in enumerate(("night", "night", "day")):
        monkeypatch.setenv("WANDB_DIR", str(tmp_path / str(number)))
        log_sweep(MADE_UP, group, settings)
        ids.append({path.name.rsplit("-", 1)[1] for path in offline_runs(tmp_path / str(number))})
    assert len(ids[0]) == 3
    assert ids[0] == ids[1]
    assert not ids[0] & ids[2]


def test_online(settings: dict, monkeypatch: pytest.MonkeyPatch, caplog):
    server = Server()
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    try:
        log_sweep(MADE_UP, "night", settings | {"mode": "auto"})
        wandb.teardown()
    finally:
        server.die()
    assert server.unknown == []
    assert {job: len(runs) for job, runs in by_job(server.runs).items()} == {"curve": 2, "comparison": 1}
    assert said(caplog) == []


def test_a_broken_wandb_costs_one_warning(settings: dict, monkeypatch: pytest.MonkeyPatch, caplog):
    def broken(*_: object, **__: object) -> None:
        raise ConnectionError("no W&B today\nnor tomorrow")

    monkeypatch.setattr(wandb, "init", broken)
    log_sweep(MADE_UP, "night", settings)
    assert said(caplog) == ["W&B: no W&B today; `longlag table` shows the sweep without it"]


def test_a_server_that_is_down_is_waited_for_once(settings: dict, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    asked, init = [], wandb.init

    def watched(mode: str, **given: object) -> object:
        asked.append(mode)
        return init(mode=mode, **given)

    monkeypatch.setattr(wandb, "init", watched)
    server = Server()
    server.die()
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    log_sweep(MADE_UP, "night", settings | {"mode": "auto", "timeout": 1})
    assert asked == ["online", "offline", "offline", "offline"]
    assert len(offline_runs(tmp_path)) == 3


def test_nothing_of_a_sweep_without_results(settings: dict, tmp_path: Path, caplog):
    log_sweep([failed(), failed(model="gru")], "night", settings)
    assert offline_runs(tmp_path) == []
    assert said(caplog) == []


def test_needs_no_torch():
    needed = (
        "import sys, longlag.tracking.wandb_sweep; sys.exit(str({'torch', 'pytorch_lightning'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", needed], capture_output=True, text=True, check=False)
    assert done.stderr == "set()\n"


def cell(logger: dict | str, record: records.Record | None) -> SimpleNamespace:
    settings = DictConfig({"logger": logger, "lag": "???" if record is None else 10})
    hydra = OmegaConf.create({"hydra": {"sweep": {"dir": "outputs/night"}}})
    return SimpleNamespace(settings=settings, record=record, config=hydra)


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    calls: list[tuple] = []
    monkeypatch.setattr("longlag.tracking.wandb_sweep.log_sweep", lambda *given: calls.append(given))
    return calls


def test_a_cell_that_was_refused_does_not_keep_the_others_out(logged: list[tuple]):
    track([cell({"wandb": {"mode": "auto"}}, None), cell({"wandb": {"mode": "auto"}}, MADE_UP[0])])
    assert logged == [([MADE_UP[0]], "night", {"mode": "auto"})]


def test_a_sweep_without_wandb_stays_out_of_it(logged: list[tuple]):
    track([cell({"csv": {}}, MADE_UP[0])])
    assert logged == []


@pytest.mark.slow
def test_a_sweep_in_two_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "faulty.py").write_text(FAULTY)
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "faulty.yaml").write_text(YAML)
    monkeypatch.setenv("LONGLAG_ALLOW", "faulty")
    monkeypatch.syspath_prepend(str(tmp_path))  # workers look where this process looks
    small = ["max_steps=4", "validation.every=2", "validation.sequences=32", "eval.sequences=16", "lag=6"]
    workers = ["hydra/launcher=processes", "hydra.launcher.workers=2", "hydra.sweep.dir=outputs/night"]
    words = ["--config-dir", "conf", "-m", "logger=wandb", "model=lstm,faulty,gru", *workers, *small]
    code, output = train(tmp_path, *words)
    assert code == 1, output
    sent = sent_later(*offline_runs(tmp_path))
    jobs = by_job(sent)
    assert {one.upserted["groupName"] for one in sent.values()} == {"night"}
    assert {job: len(runs) for job, runs in jobs.items()} == {"run": 3, "curve": 2, "comparison": 1}
    for path in (tmp_path / "outputs" / "night").glob("*/record.json"):
        record = records.read(path.parent)
        its_own = sent[run_id(path.parent, record)]
        assert its_own.config["config_hash"] == record["config_hash"]
        assert its_own.exit_codes == [1 if record["model"] == "faulty" else 0]
        assert its_own.summary["status"] == record["status"]
    assert [one.upserted["displayName"] for one in jobs["curve"]] == ["gru on copy", "lstm on copy"]
    assert "To send the sweep later: wandb sync" in output


def test_runs_without_a_test_have_no_curve(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    monkeypatch.setattr(wandb, "init", lambda **_: pytest.fail("there is nothing to show"))
    log_sweep([untested(seed=0), untested(seed=1)], "tuning", {})
    assert caplog.messages == []
