"""The kernels: chosen by name, recorded as they ran, the same run whichever it was."""

import logging
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

import longlag
from helpers.command import compose, train
from longlag import records
from longlag.models.kernels import native
from longlag.settings import CONF, plain

SMALL = ("task=copy", "lag=6", "max_steps=6", "validation.every=2", "validation.sequences=16", "eval.sequences=16")
SMALL += ("eval.lags=[6]", "runtime.checkpoint_seconds=0", "model.hidden_size=8", "logger=none", "trainer=cpu")
CHOOSE_NATIVE = ("gap", "gap_quick", "why", "tune", "ten_thousand", "horizon")
MODELS = ("rnn", "lstm", "gru", "transformer")
EFFECT = "runtime.kernels=native has no effect on this model"


@pytest.fixture
def _compiled() -> None:
    if native.kernels() is None:
        pytest.skip("there are no native kernels on this machine")


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("CC", "no-such-compiler")
    monkeypatch.setenv("LONGLAG_CACHE", str(tmp_path / "cache"))
    native.kernels.cache_clear()
    yield
    native.kernels.cache_clear()


@pytest.mark.usefixtures("_compiled")
@pytest.mark.parametrize("model", MODELS)
def test_the_record_names_what_ran(model, run_small, tmp_path):
    ran = {}
    for chosen in ("library", "native"):
        _, ran[chosen] = run_small(f"model={model}", f"runtime.kernels={chosen}", folder=tmp_path / chosen)
        assert ran[chosen]["environment"]["kernels"] == chosen
    one, other = ran.values()
    assert one["config_hash"] == other["config_hash"]
    for before, after in zip(one["gradient"], other["gradient"], strict=True):
        if before["step"] == 0:  # the probe computes in float64, for both in the same way
            assert before == after
    assert one["learning_curve"][0]["loss"] == pytest.approx(other["learning_curve"][0]["loss"], rel=1e-4)


@pytest.mark.usefixtures("_compiled")
@pytest.mark.parametrize(
    ("model", "ran"),
    [
        ("lstm_scratch", "native"),
        ("lstm_scratch model.impl=fused", "fused"),
        ("transformer", "library"),
        ("lstm", "library"),
    ],
)
def test_the_implementation_is_named_where_there_are_several(model, ran, run_small):
    _, record = run_small(*f"model={model}".split())
    assert record["environment"].get("kernels") == ran


@pytest.mark.usefixtures("_compiled")
def test_in_float64_torch_computes(run_small, caplog):
    with caplog.at_level(logging.INFO, "longlag.training.kernels"):
        _, record = run_small("model=lstm", "runtime.kernels=native", "trainer.precision=64-true")
    assert record["environment"]["kernels"] == "library"
    assert "runtime.kernels=native is for float32 on the CPU: this run uses the kernels of torch" in caplog.messages


@pytest.mark.usefixtures("no_compiler")
def test_without_a_compiler_torch_computes(run_small, caplog):
    _, record = run_small("model=lstm", "runtime.kernels=native")
    assert record["environment"]["kernels"] == "library"
    assert [line for line in caplog.messages if "ernels" in line] == [
        "No native kernels: [Errno 2] No such file or directory: 'no-such-compiler'. "
        "The recurrent cores run without them, which is slower."
    ]


def test_a_model_without_that_choice_says_so_once_and_in_a_sweep_never(tmp_path):
    alone = train(tmp_path, "model=lstm_scratch", "model.impl=fused", *SMALL, "runtime.kernels=native")
    assert alone[0] == 0, alone[1]
    assert alone[1].count(EFFECT) == 1
    sweep = train(
        tmp_path, "-m", "model=lstm_scratch", "model.impl=fused", *SMALL, "runtime.kernels=native", "seed=0,1"
    )
    assert sweep[0] == 0, sweep[1]
    assert EFFECT not in sweep[1]


class Own(nn.Module):
    """A user's core, which knows nothing of kernels."""

    ran = 3  # and means something else by that name

    def __init__(self, input_size: int, hidden_size: int = 8):
        super().__init__()
        self.hidden_size, self.layer = hidden_size, nn.Linear(input_size, hidden_size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


def test_a_core_of_the_users_own(tmp_path, caplog):
    small = {"max_steps": 4, "validation.every": 2, "validation.sequences": 16, "eval.sequences": 0}
    with caplog.at_level(logging.INFO, "longlag.training.kernels"):
        found = longlag.train(Own, lag=6, folder=tmp_path / "run", **small, **{"runtime.kernels": "native"})
    assert "kernels" not in found.record["environment"]
    assert len([line for line in caplog.messages if line.startswith(EFFECT)]) == 1


@pytest.mark.usefixtures("_compiled")
@pytest.mark.parametrize(("first", "then"), [("library", "native"), ("native", "library")])
def test_a_run_goes_on_with_other_kernels(first, then, tmp_path, monkeypatch):
    from longlag.training.learner import Learner

    step, taken = Learner.training_step, []

    def stopping(self: Learner, *arguments: object) -> torch.Tensor:
        taken.append(self.network.core.ran)
        if len(taken) == 4:
            raise KeyboardInterrupt
        return step(self, *arguments)

    monkeypatch.setattr(Learner, "training_step", stopping)
    code, said = train(tmp_path, *SMALL, "model=gru", f"runtime.kernels={first}", "hydra.run.dir=run")
    assert code != 0
    assert records.read(tmp_path / "run")["status"] == "interrupted", said
    code, said = train(tmp_path, "resume=run", f"runtime.kernels={then}")
    assert code == 0, said
    assert f"no longer bit for bit: runtime.kernels={then} (was {first})" in said
    assert taken == [first] * 4 + [then] * (len(taken) - 4)
    assert len(taken) == 8  # the last checkpoint was taken at step 2
    assert records.read(tmp_path / "run")["environment"]["kernels"] == then


def test_records_without_the_setting_go_on_with_the_library(tmp_path):
    assert train(tmp_path, *SMALL, "hydra.run.dir=run")[0] == 0
    record = records.read(tmp_path / "run")
    del record["config"]["runtime"]["kernels"]
    records.write(record | {"status": "interrupted"}, tmp_path / "run")
    assert records.config_hash(record["config"]) == record["config_hash"]
    code, said = train(tmp_path, "resume=run")
    assert code == 0, said
    assert "bit for bit" not in said
    assert longlag.load(tmp_path / "run").record["environment"]["kernels"] == "library"


def test_the_default_and_the_choice_of_the_experiments():
    assert compose("lag=6").runtime.kernels == "library"
    for name in CHOOSE_NATIVE:
        cfg = compose(f"experiment={name}", "lag=6")
        assert cfg.runtime.kernels == "native"
        assert "kernels" not in str(records.identity.identity(plain(cfg)))
    others = {path.stem for path in (CONF / "experiment").rglob("*.yaml")} - {*CHOOSE_NATIVE, "tune_optuna"}
    for name in sorted(others):
        (path,) = (CONF / "experiment").rglob(f"{name}.yaml")
        assert "kernels" not in yaml.safe_load(path.read_text()).get("runtime", {})


@pytest.mark.parametrize("model", MODELS)
def test_a_checkpoint_of_one_loads_in_the_other(model, run_small, tmp_path):
    folder, _ = run_small(f"model={model}", "runtime.kernels=native")
    network, _, record = longlag.load(folder)
    assert network.core.kernels == "library"
    assert record["config"]["runtime"]["kernels"] == "native"
