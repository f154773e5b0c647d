"""What configuration may make: classes of the kind that is asked for, the user's own package, errors in one line."""

import sys
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from helpers.command import compose
from longlag import instantiate
from longlag.instantiate import CORE, LAG_MODE, LOGGER, OPTIMIZER, TASK, TRAINER, build
from longlag.models.rnn import RNN
from longlag.settings import CONF
from longlag.tasks.copy import Copy

RNN_TARGET = "longlag.models.rnn.RNN"
KINDS = [CORE, TASK, LAG_MODE, OPTIMIZER, TRAINER, LOGGER]
REFUSED = [
    "os.system",
    "builtins.eval",
    "torch.utils.collect_env.run",  # a shell
    "torch.load",
    "longlagging.run",  # not below longlag
    "pytorch_lightning.Trainers",
    "longlag.training.trainer.os.system",  # ours by name, but not where it was defined
    "longlag.records.store.os.remove",
    "longlag.run.torch.load",
    "pytorch_lightning.callbacks.model_checkpoint.os.remove",
    "pytorch_lightning.callbacks.Timer",  # nothing of a run is configured to have callbacks
    "longlag.run.pl.LightningModule.load_from_checkpoint",  # unpickles whatever it is given
    "longlag.training.processes._rank",  # sets environment variables and calls a function
    "longlag.measure.cost._commit",  # runs git where it is told to
    "longlag.sweeps.clusters.needed",  # imports any module
    "longlag.tracking.wandb_runs.files_in",  # makes a folder
    "longlag.training.checkpoints.Checkpoints",
]
OF_ANOTHER_KIND = [
    ("longlag.models.recurrent.check_dropout", CORE),  # a function
    ("longlag.tasks.corpora.download", TASK),  # another one
    ("longlag.models.recurrent.Recurrent", CORE),  # no module of torch
    ("longlag.models.lstm.nn", CORE),  # a module of Python
    ("longlag.models.initialisation.math", CORE),
    ("longlag.models.rnn_scratch.RNNScratch.forward", CORE),
    ("longlag.models.lstm.nn.Module", CORE),
    ("longlag.models._private.Core", CORE),
    ("longlag.models.rnn.__loader__", CORE),
    ("longlag.models", CORE),
    ("longlag.tasks.task.Task", TASK),  # abstract
    ("longlag.tasks.task.classification", TASK),
    ("longlag.tasks.corpora.download", TASK),
    ("longlag.tasks.copy.Copy.at_lag", TASK),
    ("longlag.tasks.text.corpora.download", TASK),
    ("longlag.lag_modes.Task", LAG_MODE),
    ("longlag.lag_modes.np.load", LAG_MODE),
    ("torch.optim.lr_scheduler.LambdaLR", OPTIMIZER),
    ("torch.optim.swa_utils.AveragedModel", OPTIMIZER),
    ("torch.optim.adam.torch.utils.collect_env.run", OPTIMIZER),
    ("pytorch_lightning.trainer.connectors.data_connector._DataConnector", TRAINER),
    ("pytorch_lightning.loggers.csv_logs.os.remove", LOGGER),
    ("longlag.tracking.logger.build", LOGGER),
    ("longlag.tracking.logger.figures.save", LOGGER),
    ("longlag.tracking.logger.wandb.init", LOGGER),
]


@pytest.fixture
def own_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`ownpart`, a module of a user's, and `ownparty`, which merely begins with the same letters."""
    code = (
        "import os\n\nimport torch\n\n\nclass Core(torch.nn.Module):\n    def __init__(self, **arguments):\n"
        "        super().__init__()\n        self.given = arguments\n\n\n"
        "class Other:\n    pass\n\n\ndef make(**arguments):\n    raise AssertionError('a function was called')\n"
    )
    for name in ("ownpart", "ownparty"):
        (tmp_path / f"{name}.py").write_text(code)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)


def refusal(target: str, kind: instantiate.Kind, **arguments: object) -> str:
    """What is said when nothing is made of it."""
    with pytest.raises(ValueError, match=r"_target_") as refused:
        build(DictConfig({"_target_": target, **arguments}), kind)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_everything_in_conf_is_of_its_kind():
    kinds = {"model": CORE, "task": TASK, "lag_mode": LAG_MODE, "trainer": TRAINER}
    for group, kind in kinds.items():
        for path in sorted((CONF / group).glob("*.yaml")):
            node = compose(f"{group}={path.stem}")[group]
            assert issubclass(instantiate._class(node._target_, kind), kind.base), path


@pytest.mark.parametrize("target", ["torch.optim.SGD", "torch.optim.adam.Adam"])
def test_an_optimiser_waits_for_its_parameters(target: str):
    made = build(DictConfig({"_target_": target, "_partial_": True, "lr": 0.5}), OPTIMIZER)
    optimizer = made([torch.nn.Parameter(torch.zeros(1))])
    assert type(optimizer).__name__ == target.rpartition(".")[2]
    assert optimizer.param_groups[0]["lr"] == 0.5
    assert isinstance(build(compose("lr=0.5").optimizer, OPTIMIZER).func, type)


def test_arguments_come_from_the_configuration_and_from_the_caller():
    core = build(DictConfig({"_target_": RNN_TARGET, "hidden_size": 3}), CORE, input_size=2)
    assert isinstance(core, RNN)
    assert (core.input_size, core.hidden_size) == (2, 3)
    assert (
        build(DictConfig({"_target_": RNN_TARGET, "hidden_size": 3}), CORE, input_size=2, hidden_size=4).hidden_size
        == 4
    )


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("target", REFUSED)
def test_refused(target: str, kind: instantiate.Kind):
    assert refusal(target, kind).startswith(f"_target_ {target} is not allowed as {kind.name}: it must be in ")


@pytest.mark.parametrize(("target", "kind"), OF_ANOTHER_KIND, ids=lambda value: value if isinstance(value, str) else "")
def test_of_another_kind(target: str, kind: instantiate.Kind):
    said = refusal(target, kind)
    assert f"is not allowed as {kind.name}" in said or "cannot be imported" in said


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_no_place_takes_what_belongs_in_another(kind: instantiate.Kind):
    examples = {
        CORE: RNN_TARGET, TASK: "longlag.tasks.copy.Copy", LAG_MODE: "longlag.lag_modes.Fixed",
        OPTIMIZER: "torch.optim.Adam", TRAINER: "pytorch_lightning.Trainer",
        LOGGER: "pytorch_lightning.loggers.CSVLogger",
    }  # fmt: skip
    for other, target in examples.items():
        if other is not kind:
            refusal(target, kind)
    assert issubclass(instantiate._class(examples[kind], kind), kind.base)


@pytest.mark.parametrize("target", ["", ".", "a..b", "longlag.models.rnn.", "lambda: 0", "x" * 5000, 7, ["os"], True])
def test_a_target_that_is_no_name(target: object):
    said = refusal(target, CORE)  # type: ignore[arg-type]
    assert len(said) < 400


def test_nothing_is_imported_before_its_name_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "trap.py").write_text("raise AssertionError('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    for target in ("trap.Core", "trap", "longlag.trap.Core", "longlag.models.trap.Core"):
        refusal(target, CORE)
    assert "trap" not in sys.modules


@pytest.mark.parametrize("key", ["_target_", "_args_", "_partial_", "_recursive_", "_convert_"])
@pytest.mark.parametrize("wrap", [lambda node: node, lambda node: [node], lambda node: {"a": [{"b": node}]}])
def test_nothing_is_made_inside_an_argument(wrap, key: str):
    said = refusal(RNN_TARGET, CORE, hidden_size=wrap({key: RNN_TARGET}))
    assert f"{key} is not allowed among its arguments" in said


@pytest.mark.parametrize("key", ["_args_", "_recursive_", "_convert_", "_partial_"])
def test_what_would_change_how_it_is_made(key: str):
    refusal(RNN_TARGET, CORE, **{key: True})


def test_refused_behind_an_interpolation():
    cfg = DictConfig({"where": "os", "model": {"_target_": "${where}.system", "command": "false"}})
    with pytest.raises(ValueError, match=r"os\.system is not allowed"):
        build(cfg.model, CORE)


@pytest.mark.usefixtures("own_package")
def test_a_package_of_the_users_own(monkeypatch: pytest.MonkeyPatch):
    node = DictConfig({"_target_": "ownpart.Core", "size": 3})
    with pytest.raises(ValueError, match="set LONGLAG_ALLOW=package"):
        build(node, CORE)
    assert "ownpart" not in sys.modules
    monkeypatch.setenv("LONGLAG_ALLOW", "another, ownpart")
    assert build(node, CORE, input_size=2).given == {"size": 3, "input_size": 2}


@pytest.mark.usefixtures("own_package")
@pytest.mark.parametrize(
    "target",
    ["ownparty.Core", "ownpart.make", "ownpart.Other", "ownpart.os.system", "ownpart.torch.nn.Linear", "ownpart.torch",
     "os.system", "torch.load", "torch.nn.Linear"],
)  # fmt: skip
def test_classes_of_the_kind_from_the_users_own_package_and_nothing_else(target: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LONGLAG_ALLOW", "ownpart")
    refusal(target, CORE)


def test_a_configuration_as_argument_stays_one():
    task = Copy(8)
    described = DictConfig({"_target_": "os.system", "command": "false"})
    made = build(DictConfig({"_target_": "longlag.tasks.copy.Copy", "lag": 8}), TASK, solved_at=described)
    assert made.solved_at is described
    assert build(DictConfig({"_target_": "longlag.lag_modes.Fixed"}), LAG_MODE, task=task).task is task


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ({"_target_": RNN_TARGET, "hiden_size": 3}, "hiden_size"),
        ({"_target_": RNN_TARGET, "hidden_size": {"_target_": RNN_TARGET, "hiden_size": 3}}, "_target_"),
        ({"_target_": "longlag.models.nothing.Core"}, "nothing"),
        ({"_target_": "longlag.models.rnn.Core"}, "Core"),
        ({"hidden_size": 3}, "does not describe a core: it has no _target_"),
        ({"_target_": RNN_TARGET, 3: 4}, "keywords must be strings"),
        (None, "does not describe a core: it has no _target_"),
    ],
    ids=["argument", "argument of a part", "module", "name", "no target", "a number", "nothing"],
)
def test_what_does_not_fit_is_one_line(node: dict | None, said: str):
    with pytest.raises(ValueError, match=said) as error:
        build(DictConfig(node), CORE, input_size=2)
    assert "\n" not in str(error.value)


def test_errors_of_a_constructor_are_its_own():
    with pytest.raises(ValueError, match=r"^model\.init=chrono does not fit the rnn"):
        build(DictConfig({"_target_": RNN_TARGET, "init": "chrono"}), CORE, input_size=2)
