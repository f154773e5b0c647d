"""A run whose core is checked before it trains, and one that fails after training: what is said and what is left."""

import re
from pathlib import Path

import pytest

from helpers.command import train
from helpers.results import repeatable, same, saved_weights
from longlag import records
from longlag.models.network import Checked, Network

CORES = '''
import torch
from torch import nn

from longlag.models.lstm import LSTM

LIMIT = 9


class Reversed(LSTM):
    def forward(self, x):
        return super().forward(x) + super().forward(x.flip(1)).flip(1)


class Tuple(nn.LSTM):
    def __init__(self, input_size, hidden_size=8, **_):
        super().__init__(input_size, hidden_size, batch_first=True)


class NoInputSize(LSTM):
    def __init__(self, hidden_size=8, num_layers=1, dropout=0.0, init="torch", t_max=100):
        super().__init__(10, hidden_size)


class Bounded(LSTM):
    """Has room for LIMIT steps."""

    def forward(self, x):
        if x.shape[1] > LIMIT:
            raise RuntimeError("no room\\nfor this")
        return super().forward(x)


class SinglePrecision(LSTM):
    def unroll(self, x, state=None):
        zero = torch.zeros(1, len(x), self.hidden_size)
        return nn.LSTM.forward(self, x, (zero, zero) if state is None else state)
'''

YAML = "# @package _global_\ndefaults: [lstm, _self_]\nmodel: {{_target_: mycell.{}}}\n"
NAMES = ("Reversed", "Tuple", "NoInputSize", "Bounded", "SinglePrecision")
SMALL = ("--config-dir", "myconf", "task=copy", "lag=6", "max_steps=4", "validation.every=2", "validation.sequences=16",
         "eval.sequences=16", "logger=none", "trainer=cpu", "model.hidden_size=8")  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a user's cores lie, `mycell.py` and their YAML files."""
    (tmp_path / "mycell.py").write_text(CORES)
    (tmp_path / "myconf" / "model").mkdir(parents=True)
    for name in NAMES:
        (tmp_path / "myconf" / "model" / f"{name.lower()}.yaml").write_text(YAML.format(name))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("LONGLAG_ALLOW", "mycell")
    return tmp_path


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Network, "check", lambda *_: Checked(exact=True, seconds=0.0))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("reversed", "longlag: the core Reversed: it sees the future: "),
        ("tuple", "longlag: the core Tuple: forward gave a tuple of 2; "),
        (
            "noinputsize",
            "longlag: mycell.NoInputSize: .*input_size.*; the constructor of a core must take input_size, ",
        ),
        ("bounded", r"longlag: the core Bounded: forward raised RuntimeError: no room, .* = \(8, 13, \d+\); "),
    ],
)
def test_refused_in_one_line_before_anything_is_written(folder: Path, name: str, says: str):
    code, said = train(folder, *SMALL, f"model={name}")
    assert code == 1
    assert len(said.splitlines()) == 1, said
    assert re.match(says, said)
    assert not list(folder.glob("outputs/*"))


def test_the_traceback_of_the_core_on_demand(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(ValueError, match="forward raised RuntimeError") as refused:
        train(folder, *SMALL, "model=bounded")
    assert str(refused.value.__cause__) == "no room\nfor this"


def test_a_sweep_goes_on_past_a_core_that_is_refused(folder: Path):
    code, said = train(folder, "-m", *SMALL, "model=reversed,rnn", "hydra.sweep.dir=sweep")
    assert code == 1
    assert "the core Reversed: it sees the future" in said
    assert "Traceback" not in said
    found = [records.read(path.parent) for path in folder.glob("sweep/*/record.json")]
    assert [(record["model"], record["status"]) for record in found] == [("rnn", "finished")]


@pytest.mark.parametrize(
    "option", ["core.causal=false", "+core.causal=false", "model.causal=false", "+model.causal=false"]
)
def test_the_check_cannot_be_switched_off(folder: Path, option: str):
    code, said = train(folder, *SMALL, "model=reversed", option)
    assert code == 1
    assert "causal" in said or "core: there is no such setting" in said
    assert "sees the future" not in said
    assert not list(folder.glob("outputs/*"))


@pytest.mark.parametrize(
    ("overrides", "longest"),
    [((), 13), (("eval.lags=[2,20]",), 21), (("eval.lags=[2]",), 7), (("eval.sequences=0", "eval.lags=[20]"), 7)],
)
def test_the_longest_sequence_is_tried(run_small, monkeypatch: pytest.MonkeyPatch, overrides, longest: int):
    asked = []
    monkeypatch.setattr("longlag.models.network.check_core", lambda _, __, steps, ___: asked.append(steps) or True)
    run_small(*overrides)
    assert asked == [longest]


@pytest.mark.parametrize("model", ["lstm", "transformer"])
def test_a_checked_run_is_the_same_run(run_small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str):
    dropout = ("model.num_layers=2", "model.dropout=0.3", "max_steps=12", f"model={model}")
    checked, record = run_small(*dropout, folder=tmp_path / "checked")
    assert 0 < record["cost"]["check_seconds"] < 60
    monkeypatch.setattr(Network, "check", lambda *_: Checked(exact=True, seconds=0.0))
    plain, other = run_small(*dropout, folder=tmp_path / "plain")
    assert other["cost"]["check_seconds"] == 0
    assert repeatable(record) == repeatable(other)
    assert same(saved_weights(checked), saved_weights(plain))


def test_a_core_in_single_precision_alone_runs_without_its_gradient(folder: Path):
    code, said = train(folder, *SMALL, "model=singleprecision", "hydra.run.dir=run")
    assert code == 0, said
    assert said.count("the core SinglePrecision does not run in float64 on the CPU (RuntimeError: ") == 1
    record = records.read(folder / "run")
    assert (record["status"], record["gradient"], record["gradient_scalars"]) == ("finished", [], [])
    assert len(record["lag_curve"]) == 3


# After the training.


@pytest.mark.usefixtures("folder", "unchecked")
def test_a_longer_test_that_fails_leaves_the_shorter_ones(run_small, tmp_path: Path):
    with pytest.raises(RuntimeError, match="no room"):
        run_small("model._target_=mycell.Bounded", "eval.lags=[4,12,3,8]")
    record = records.read(tmp_path / "run")
    assert (record["status"], record["error"]) == ("failed", "RuntimeError: no room\nfor this")
    assert 0 <= record["test"]["accuracy"] <= 1
    assert [point["lag"] for point in record["lag_curve"]] == [3, 4, 8]
    assert record["best_step"] in {scalars["step"] for scalars in record["gradient_scalars"]}
    assert record["cost"]["test_seconds"] > 0
    assert (tmp_path / "run" / records.WEIGHTS).exists()
