"""What configuration may make: the allow-list, the user's own package, and errors in one line."""

from pathlib import Path

import pytest
import torch
from conftest import compose
from omegaconf import DictConfig

from longlag.models.rnn import RNN
from longlag.targets import build

RNN_TARGET = "longlag.models.rnn.RNN"
REFUSED = [
    "os.system",
    "builtins.eval",
    "torch.utils.collect_env.run",  # a shell
    "torch.load",
    "longlagging.run",  # not below longlag
    "pytorch_lightning.Trainers",
    "longlag.trainer.os.system",  # ours by name, but not where it was defined
    "longlag.records.store.os.remove",
    "longlag.run.torch.load",
    "torch.optim.adam.torch.utils.collect_env.run",
    "pytorch_lightning.callbacks.model_checkpoint.os.remove",
    "longlag.run.pl.LightningModule.load_from_checkpoint",  # unpickles whatever it is given
    "pytorch_lightning.callbacks.model_checkpoint.pl.LightningModule.load_from_checkpoint",
]


@pytest.fixture
def own_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`ownpart`, a module of a user's, and `ownparty`, which merely begins with the same letters."""
    for name in ("ownpart", "ownparty"):
        (tmp_path / f"{name}.py").write_text("import os\n\n\ndef make(**arguments):\n    return arguments\n")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize(
    "target",
    [RNN_TARGET, "torch.optim.SGD", "pytorch_lightning.Trainer", "pytorch_lightning.callbacks.Timer",
     "pytorch_lightning.loggers.CSVLogger"],
)  # fmt: skip
def test_allowed(target: str):
    made = build(DictConfig({"_target_": target, "_partial_": True}))
    assert made.func.__name__ == target.rpartition(".")[2]


def test_arguments_come_from_the_configuration_and_from_the_caller():
    core = build(DictConfig({"_target_": RNN_TARGET, "hidden_size": 3}), input_size=2)
    assert isinstance(core, RNN)
    assert (core.input_size, core.hidden_size) == (2, 3)


@pytest.mark.parametrize("target", REFUSED)
def test_refused(target: str):
    with pytest.raises(ValueError, match=f"^_target_ {target} is not allowed"):
        build(DictConfig({"_target_": target}))


@pytest.mark.parametrize("wrap", [lambda node: node, lambda node: [node], lambda node: {"a": [{"b": node}]}])
def test_refused_however_deep(wrap):
    inner = wrap({"_target_": "os.system", "command": "false"})
    with pytest.raises(ValueError, match=r"os\.system is not allowed"):
        build(DictConfig({"_target_": RNN_TARGET, "hidden_size": inner}), input_size=2)


def test_refused_behind_an_interpolation():
    cfg = DictConfig({"where": "os", "model": {"_target_": "${where}.system", "command": "false"}})
    with pytest.raises(ValueError, match=r"os\.system is not allowed"):
        build(cfg.model)


@pytest.mark.usefixtures("own_package")
def test_a_package_of_the_users_own(monkeypatch: pytest.MonkeyPatch):
    node = DictConfig({"_target_": "ownpart.make", "size": 3})
    with pytest.raises(ValueError, match="set LONGLAG_ALLOW=package"):
        build(node)
    monkeypatch.setenv("LONGLAG_ALLOW", "another, ownpart")
    assert build(node, input_size=2) == {"size": 3, "input_size": 2}


@pytest.mark.usefixtures("own_package")
@pytest.mark.parametrize("target", ["ownparty.make", "ownpart.os.system", "os.system", "torch.load"])
def test_the_users_own_package_and_nothing_else(target: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LONGLAG_ALLOW", "ownpart")
    with pytest.raises(ValueError, match=f"{target} is not allowed"):
        build(DictConfig({"_target_": target}))


@pytest.mark.usefixtures("own_package")
def test_a_configuration_as_argument_stays_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LONGLAG_ALLOW", "ownpart")
    described = DictConfig({"_target_": "os.system", "command": "false"})
    assert build(DictConfig({"_target_": "ownpart.make"}), described=described)["described"] is described


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ({"_target_": RNN_TARGET, "hiden_size": 3}, "hiden_size"),
        ({"_target_": RNN_TARGET, "hidden_size": {"_target_": RNN_TARGET, "hiden_size": 3}}, "hiden_size"),
        ({"_target_": "longlag.models.nothing.Core"}, "nothing"),
        ({"_target_": "longlag.models.rnn.Core"}, "Core"),
        ({"hidden_size": 3}, "configuration"),
    ],
    ids=["argument", "argument of a part", "module", "name", "no target"],
)
def test_what_does_not_fit_is_one_line(node: dict, said: str):
    with pytest.raises(ValueError, match=said) as error:
        build(DictConfig(node), input_size=2)
    assert "\n" not in str(error.value)


def test_errors_of_a_constructor_are_its_own():
    with pytest.raises(ValueError, match=r"^model\.init=chrono does not fit the rnn"):
        build(DictConfig({"_target_": RNN_TARGET, "init": "chrono"}), input_size=2)


def test_partial_waits_for_its_arguments():
    make = build(compose("lr=0.5").optimizer)
    optimizer = make([torch.nn.Parameter(torch.zeros(1))])
    assert isinstance(optimizer, torch.optim.Adam)
    assert optimizer.param_groups[0]["lr"] == 0.5
