"""The ranges and choices of the settings: what is refused, what is let through, and in which words."""

import subprocess
import sys

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict

from helpers.command import MODELS, TASKS, compose
from longlag.settings import CHOICES, RANGES, check, plain, said

COUNTS = [key for key, allowed in RANGES.items() if allowed.whole and allowed.low == 1]
FROM_ZERO = ["seed", "warmup_steps"]
REFUSED = [
    *(f"{key}={value}" for key in COUNTS for value in (0, -5, 1.5, "true", "ten")),
    *(f"{key}=null" for key in COUNTS if not RANGES[key].null),
    *(f"{key}={value}" for key in FROM_ZERO for value in (-1, 0.5, "true", "null")),
    *(f"lr={value}" for value in (0, -0.1, "true", "null", "fast", "nan", "inf")),
    *(f"model.dropout={value}" for value in (-0.1, 1, 1.0, "true", "null")),
    *(f"trainer.gradient_clip_val={value}" for value in (0, -1, "true", "tight")),
    *(f"{key}={value}" for key in ("model.t_max", "task.solved_at", "logger.wandb.timeout") for value in (0, "abc")),
    *(f"trainer.devices={value}" for value in (0, -1, "abc", "[]", "null")),
    *("lr_schedule=linear", "lr_schedule=null", "trainer.precision=8-true", "trainer.precision=16"),
    *(f"eval.lags={value}" for value in ("10", "ten", "[]", "[0]", "[10,-1]", "[1.5]", "[true]", "[10,ten]", "{a:1}")),
]
ACCEPTED = [
    *(f"{key}=1" for key in COUNTS),
    *("seed=0", "warmup_steps=0", "lr=1e-9", "lr=1", "model.dropout=0", "model.dropout=0.99"),
    *("trainer.devices=auto", "trainer.devices=[0,1]", "task.solved_at=null", "model.t_max=1.5"),
    *("runtime.threads=null", "trainer.gradient_clip_val=null", "trainer.gradient_clip_val=0.001"),
    *(f"{key}={name}" for key, names in CHOICES.items() for name in names),
    *("eval.lags=null", "eval.lags=[1]", "eval.lags=[10,100,1000]"),
]


@pytest.fixture(scope="module")
def shipped() -> DictConfig:
    return compose()


def changed(cfg: DictConfig, override: str) -> DictConfig:
    """As the command line would have it, without composing everything again."""
    parsed = OverridesParser.create().parse_override(override)
    cfg = cfg.copy()
    OmegaConf.update(cfg, parsed.key_or_group, parsed.value(), merge=False, force_add=True)
    return cfg


@pytest.mark.parametrize("override", REFUSED)
def test_refused_in_one_line_with_key_and_value(shipped: DictConfig, override: str):
    cfg, key = changed(shipped, override), override.partition("=")[0]
    with pytest.raises(ValueError, match=" must be ") as refusal:
        check(cfg)
    message = str(refusal.value)
    assert message.startswith(f"{key} must be ")
    assert message.endswith(f", got {said(OmegaConf.select(cfg, key))}")
    assert "\n" not in message


@pytest.mark.parametrize("override", ACCEPTED)
def test_accepted_at_the_edge(shipped: DictConfig, override: str):
    check(changed(shipped, override))


@pytest.mark.parametrize("choice", [*(f"model={name}" for name in MODELS), *(f"task={name}" for name in TASKS)])
def test_everything_that_ships_is_accepted(choice: str):
    check(compose(choice))


def test_unknown_key_at_the_top(shipped: DictConfig):
    with pytest.raises(ValueError, match=r"^max_step: there is no such setting"):
        check(changed(shipped, "max_step=3"))


def test_a_core_need_not_have_layers_or_dropout(shipped: DictConfig):
    cfg = shipped.copy()
    with open_dict(cfg):
        del cfg.model.num_layers, cfg.model.dropout
    check(cfg)


def test_checking_needs_no_torch():
    code = "import sys, longlag.settings; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_secret_is_stored_as_the_interpolation_that_it_is(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SECRET", "hunter2")
    cfg = compose(
        "logger.wandb.entity=${oc.env:SECRET}", "logger.wandb.project=${logger.wandb.entity}",
        "logger.wandb.tags=[a,'x-${oc.env:SECRET}']", "+logger.csv.more={deep: '${oc.env:SECRET}'}",
    )  # fmt: skip
    stored = plain(cfg)
    assert "hunter2" not in str(stored)
    assert stored["logger"]["wandb"]["entity"] == "${oc.env:SECRET}"
    assert stored["logger"]["wandb"]["project"] == "${logger.wandb.entity}"
    assert stored["logger"]["wandb"]["tags"] == ["a", "x-${oc.env:SECRET}"]
    assert stored["logger"]["wandb"]["timeout"] == 15
    assert stored["optimizer"]["lr"] == cfg.lr


def test_what_decides_what_a_run_is_is_resolved(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LAG", "77")
    monkeypatch.setenv("PRECISION", "64-true")
    stored = plain(compose("lag='${oc.decode:${oc.env:LAG}}'", "trainer.precision=${oc.env:PRECISION}"))
    assert (stored["lag"], stored["task"]["lag"], stored["trainer"]["precision"]) == (77, 77, "64-true")
