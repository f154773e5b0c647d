"""longlag in Python: train, sweep, load and find, with models by name and with the user's own classes."""

import importlib
import linecache
import logging
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from torch import Tensor, nn

import longlag
from helpers.command import train as command
from longlag import records
from longlag.settings import CONF

SMALL = {
    "max_steps": 4,
    "validation": {"every": 2, "sequences": 16},
    "eval": {"sequences": 16},
    "trainer": "cpu",
}


class Leaky(nn.Module):
    """A core of the user: leaky integrators."""

    def __init__(self, input_size: int, hidden_size: int = 6, keep: float = 0.9):
        super().__init__()
        self.hidden_size, self.keep = hidden_size, keep
        self.input = nn.Linear(input_size, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        h, outputs = x.new_zeros(len(x), self.hidden_size), []
        for z in self.input(x).unbind(1):
            h = self.keep * h + (1 - self.keep) * z.tanh()
            outputs.append(h)
        return torch.stack(outputs, dim=1)


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_a_run_is_the_one_of_the_command(tmp_path: Path):
    run = longlag.train(model="gru", task="copy", lag=5, seed=3, **SMALL)
    words = ["model=gru", "task=copy", "lag=5", "seed=3", "max_steps=4", "validation.every=2"]
    words += ["validation.sequences=16", "eval.sequences=16", "trainer=cpu", "logger=none", "hydra.run.dir=command"]
    assert command(tmp_path, *words)[0] == 0
    other = longlag.load("command")
    assert run.record["config_hash"] == other.record["config_hash"]
    assert run.record["test"] == other.record["test"]
    assert same_weights(run.network, other.network)
    assert run.folder.parent == Path("outputs")
    assert run.folder.name.endswith("_gru_copy_lag5_seed3")
    assert {path.name for path in run.folder.iterdir()} >= {records.FILE, records.WEIGHTS, "lag_curve.png"}


def test_a_run_unpacks_and_shows_itself():
    run = longlag.train(lag=5, folder="run", **SMALL)
    network, task, record = run
    assert network is run.network
    assert task.lag == 5
    assert run.accuracy == record["test"]["accuracy"]
    assert "lstm on copy, lag 5" in repr(run)
    assert "test accuracy" in str(run)
    assert "lag 5" in str(task)
    html = run._repr_html_()
    assert "<table>" in html
    assert "data:image/png;base64," in html
    assert run.plot()._repr_png_().startswith(b"\x89PNG")
    assert run.plot("gradient").axes
    with pytest.raises(ValueError, match=r"has no picture dance; there are lag_curve, gradient"):
        run.plot("dance")
    import numpy as np

    inputs = task.batch(3, np.random.default_rng(0)).inputs
    outputs = run.predict(inputs)
    assert outputs.shape == (3, inputs.shape[1], task.outputs)
    one = torch.full((3, 1), inputs.shape[1] - 1)
    with torch.no_grad():
        assert torch.allclose(outputs[:, -1:], network(inputs, one))


def test_a_stored_name_cannot_write_html():
    run = longlag.train(lag=5, folder="run", **SMALL)
    run.record["model"] = "<script>alert(1)</script>"
    assert "<script>" not in run._repr_html_()
    assert "<script>" not in longlag.Runs([run])._repr_html_()


def test_a_folder_with_the_run_is_taken_up_and_another_run_is_refused(monkeypatch: pytest.MonkeyPatch):
    first = longlag.train(lag=5, folder="run", **SMALL)
    before = (first.folder / records.FILE).read_bytes()
    again = longlag.train(lag=5, folder="run", **SMALL)
    assert (first.folder / records.FILE).read_bytes() == before
    assert same_weights(first.network, again.network)
    with pytest.raises(FileExistsError, match=r"run holds another run \(lag=5, not 6.*give another folder"):
        longlag.train(lag=6, folder="run", **SMALL)


def test_an_interrupted_run_goes_on(monkeypatch: pytest.MonkeyPatch):
    from longlag.training.learner import Learner

    step = Learner.training_step

    def stopped(self, batch, index):
        if self.global_step == 3:
            raise KeyboardInterrupt
        return step(self, batch, index)

    small = {**SMALL, "runtime": {"checkpoint_seconds": 0}}
    with monkeypatch.context() as patch:
        patch.setattr(Learner, "training_step", stopped)
        with pytest.raises(KeyboardInterrupt):
            longlag.train(lag=5, folder="run", **small)
    assert records.read("run")["status"] == "interrupted"
    resumed = longlag.train(lag=5, folder="run", **small)
    whole = longlag.train(lag=5, folder="whole", **small)
    assert resumed.record["status"] == "finished"
    assert resumed.record["learning_curve"] == whole.record["learning_curve"]
    assert same_weights(resumed.network, whole.network)


@pytest.mark.parametrize(
    ("core", "settings", "stored"),
    [
        (Leaky, {}, {}),
        (partial(Leaky, hidden_size=5), {}, {"hidden_size": 5}),
        (Leaky, {"model.hidden_size": 5, "model.keep": 0.5}, {"hidden_size": 5, "keep": 0.5}),
    ],
)
def test_an_own_class_needs_no_file(core, settings: dict, stored: dict):
    run = longlag.train(core, lag=5, folder="run", **settings, **SMALL)
    assert run.record["model"] == "Leaky"
    assert run.record["config"]["model"] == {"_target_": f"{__name__}.Leaky"} | stored
    assert run.record["config"]["lr"] == 0.001
    assert run.network.core.hidden_size == stored.get("hidden_size", 6)
    assert run.record["gradient"]
    for opened in (longlag.load("run", model=Leaky), longlag.load("run", model=core)):
        assert same_weights(opened.network, run.network)
    with pytest.raises(ValueError, match=r"LONGLAG_ALLOW=\w+, or from Python give the class: .*model=Leaky"):
        longlag.load("run")


def test_an_own_function_makes_a_core_and_its_size_can_be_matched():
    def leaky(input_size: int, hidden_size: int = 6) -> nn.Module:
        return Leaky(input_size, hidden_size)

    run = longlag.train(leaky, lag=5, folder="run", budget={"parameters": 500}, lr=0.01, **SMALL)
    assert abs(run.record["cost"]["parameters"] - 500) <= 0.02 * 500
    assert run.record["config"]["lr"] == 0.01
    assert run.record["model"] == "leaky"
    assert same_weights(longlag.load("run", model=leaky).network, run.network)
    unnamed = longlag.train(lambda input_size: Leaky(input_size, 7), lag=5, folder="unnamed", **SMALL)
    assert unnamed.record["model"] == "own_core"


def test_what_a_partial_holds_tells_runs_apart():
    def described(**arguments):
        return longlag.train(partial(Leaky, **arguments), lag=5, **SMALL).record["config_hash"]

    assert len({described(), described(keep=0.5), described(keep=0.6)}) == 3


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"lagg": 5}, "lagg: there is no such setting; did you mean lag?"),
        ({"model": "lstn"}, "did you mean lstm?"),
        ({"task": "coppy"}, "did you mean copy?"),
        ({"lag": -1}, "lag must be a whole number of at least 1, got -1"),
        ({"lag": "x'y"}, "lag must be a whole number"),
        ({"model.hiden_size": 5}, "did you mean model.hidden_size?"),
        ({"budget": {"second": 5}}, "did you mean budget.seconds?"),
        ({"hydra.run.dir": "x"}, "belongs to the command line"),
        ({"resume": "x"}, "belongs to the command line"),
        ({"model": lambda size: Leaky(size, 5)}, "must take input_size"),
        ({"model": partial(Leaky, hidden_size=0)}, "hidden_size"),
    ],
)
def test_a_wrong_setting_is_said_in_one_line_and_leaves_nothing(given: dict, said: str, tmp_path: Path):
    with pytest.raises(ValueError, match=r".") as refused:
        longlag.train(**{"lag": 5, **SMALL, **given})
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["a'b", "a\\'b", 'say "x"', "[1,2]", "a, b", "null", "${lag}", "", "Ünï"])
def test_a_text_arrives_as_it_is(text: str):
    from longlag.api import _composed, _word

    if "${" in text:  # an interpolation is one here, as on the command line
        return
    cfg, _ = _composed([f"logger.wandb.project={_word(text)}", "logger=wandb"])
    assert cfg.logger.wandb.project == text


def test_a_hydra_program_of_the_user_goes_on():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        longlag.train(lag=5, folder="run", **SMALL)
        assert GlobalHydra.instance().is_initialized()


def test_a_sweep_of_names_and_of_own_classes(capfd, caplog):
    caplog.set_level(logging.WARNING, "longlag")
    grid = {"model": ["rnn", Leaky], "lag": [5, 6], "seed": range(2), "folder": "sweep", "workers": 2}
    runs = longlag.sweep(**grid, **SMALL)
    found = sorted((run.record["model"], run.record["lag"], run.record["seed"]) for run in runs)
    assert found == [(model, lag, seed) for model in ("Leaky", "rnn") for lag in (5, 6) for seed in (0, 1)]
    assert {run.record["status"] for run in runs} == {"finished"}
    assert "of 4 runs" in capfd.readouterr().err
    before = {path: path.stat().st_mtime_ns for path in Path("sweep").rglob(records.FILE)}
    more = longlag.sweep(**{**grid, "seed": range(3)}, **SMALL)
    assert len(more) == 12
    assert {path: path.stat().st_mtime_ns for path in before} == before  # what had ended was not run again
    frame = more.to_frame()
    assert len(frame) == 12
    assert set(frame["config.lag"]) == {5, 6}
    assert {"model", "test.accuracy", "cost.parameters", "solved", "folder"} <= set(frame.columns)
    assert "Leaky" in str(more)
    assert more.plot().axes
    assert more.report("page.html").read_text().startswith("<!doctype html>")
    assert isinstance(more[:2], longlag.Runs)
    assert {type(run.network.core).__name__ for run in more} == {"Leaky", "RNN"}
    assert longlag.find("sweep")[0].record["folder"] == more[0].record["folder"]


def test_a_sweep_over_lists():
    runs = longlag.sweep(model="rnn", lag=5, **(SMALL | {"eval": {"sequences": 16, "lags": [[5, 7], [6]]}}))
    assert sorted([point["lag"] for point in run.record["lag_curve"]] for run in runs) == [[5, 7], [6]]


def test_a_run_that_fails_does_not_end_the_sweep(caplog):
    class Broken(Leaky):
        def forward(self, x: Tensor) -> Tensor:
            if self.training and torch.is_grad_enabled() and x.shape[1] > 6 and x.dtype == torch.float32 and len(x) > 8:
                raise RuntimeError("no more")
            return super().forward(x)

    runs = longlag.sweep(Broken, lag=[5, 7], folder="sweep", **SMALL)
    assert {run.record["lag"]: run.record["status"] for run in runs} == {5: "finished", 7: "failed"}
    assert "no more" in caplog.text


@pytest.mark.parametrize("model", ["rnn", Leaky])
def test_a_sweep_in_which_nothing_is_possible(model, tmp_path: Path):
    with pytest.raises(ValueError, match="lag must be a whole number"):
        longlag.sweep(model, lag=[0, -1], folder="sweep", **SMALL)
    assert not list(tmp_path.rglob(records.FILE))


def test_a_fresh_interpreter_imports_little_and_knows_its_names():
    code = (
        "import sys, longlag; assert 'torch' not in sys.modules and 'hydra' not in sys.modules; "
        "print(longlag.__version__, longlag.train, longlag.Runs); from longlag import sweep, find, load; "
        "import longlag.settings; "
        "assert not hasattr(longlag, 'nothing')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("0.")


def test_without_pandas_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch):
    run = longlag.train(lag=5, folder="run", **SMALL)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"pip install 'longlag\[pandas\]'"):
        longlag.Runs([run]).to_frame()


def test_an_edited_class_of_the_same_name_makes_other_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As in a notebook: the cell of the class is changed and run again."""
    monkeypatch.syspath_prepend(str(tmp_path))
    source = tmp_path / "edited_core.py"
    text = "from torch import nn\n\nclass Core(nn.Module):\n    def __init__(self, input_size, hidden_size=8):\n"
    text += "        super().__init__()\n        self.hidden_size = hidden_size\n"
    text += "        self.read = nn.Linear(input_size, hidden_size)\n"
    text += "    def forward(self, x):\n        return self.read(x)"
    for version, body in enumerate(("", ".tanh()", ".tanh()")):
        source.write_text(f"{text}{body}\n# {version}\n", encoding="utf-8")
        linecache.checkcache(str(source))
        monkeypatch.delitem(sys.modules, "edited_core", raising=False)
        importlib.invalidate_caches()
        longlag.sweep(importlib.import_module("edited_core").Core, lag=5, folder="sweep", **SMALL)
    runs = longlag.find("sweep")
    assert len(runs) == 2  # the third is the second again
    assert len({run.record["config"]["code"] for run in runs}) == 2


def test_a_core_that_is_refused_does_not_lose_the_other_runs(caplog):
    class Ahead(Leaky):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + super().forward(x).sum(1, keepdim=True)

    runs = longlag.sweep(model=[Ahead, Leaky], lag=[5, 6], folder="sweep", **SMALL)
    assert [run.record["model"] for run in runs] == ["Leaky", "Leaky"]
    assert "it sees the future" in caplog.text
    with pytest.raises(ValueError, match="it sees the future"):
        longlag.sweep(model=[Ahead], lag=5, folder="other", **SMALL)


def test_an_object_is_not_a_class():
    with pytest.raises(ValueError, match="give its class, model=Leaky"):
        longlag.train(model=Leaky(3), lag=5, **SMALL)
