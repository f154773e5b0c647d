"""The ranges of the generic settings, checked in one place before torch is imported."""

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from longlag import malloc
from longlag.records.identity import NOT_OF_THE_RUN, OF_THE_TRAINER, flattened

PRECISIONS = ("32-true", "32", "64-true", "64", "bf16-mixed", "16-mixed")
INTERPOLATION = re.compile(r"(?<!\\)(?:\\\\)*\$\{")  # one that no backslash takes its meaning from
SCHEDULES = ("constant", "cosine")


class Range(NamedTuple):
    """What one setting may be: a whole or a real number from `low` (or above it) up to `high`, or null."""

    whole: bool
    low: float
    above: bool = False
    high: float | None = None
    null: bool = False

    def problem(self, value: Any) -> str | None:
        """Why `value` is refused, in words, or None."""
        if value is None and self.null:
            return None
        number = isinstance(value, int if self.whole else (int, float)) and not isinstance(value, bool)
        if number and self._holds(value):
            return None
        return f"must be {self}, got {value!s}"

    def _holds(self, value: float) -> bool:
        if not math.isfinite(value):
            return False
        inside = value > self.low if self.above else value >= self.low
        return inside and (self.high is None or value < self.high)

    def __str__(self) -> str:
        """The range in words, as the error message says it."""
        kind = "a whole number" if self.whole else "a number"
        bound = f"above {self.low:g}" if self.above else f"of at least {self.low:g}"
        return f"{kind} {bound}" + (f" and below {self.high:g}" if self.high is not None else "")


COUNT = Range(whole=True, low=1)
POSITIVE = Range(whole=False, low=0, above=True)
RANGES = {
    "lag": COUNT,
    "seed": Range(whole=True, low=0, high=2**63),
    "stream": Range(whole=True, low=1, high=3),
    "max_steps": COUNT,
    "batch_size": COUNT,
    "lr": POSITIVE,
    "warmup_steps": Range(whole=True, low=0),
    "validation.every": COUNT,
    "validation.sequences": COUNT,
    "eval.sequences": Range(whole=True, low=0),
    "budget.parameters": Range(whole=True, low=1, null=True),
    "budget.sequences": Range(whole=True, low=1, null=True),
    "budget.seconds": Range(whole=False, low=0, above=True, null=True),
    "budget.give_up_at": Range(whole=False, low=0, above=True, high=1, null=True),
    "runtime.threads": Range(whole=True, low=1, null=True),
    "model.hidden_size": COUNT,
    "model.num_layers": COUNT,
    "model.feed_forward_size": Range(whole=True, low=1, null=True),
    "model.dropout": Range(whole=False, low=0, high=1),
    "model.t_max": POSITIVE,
    "task.payload": COUNT,
    "task.facts": COUNT,
    "task.window": COUNT,
    "task.noise": Range(whole=False, low=0),
    "task.symbols": COUNT,
    "task.distractors": Range(whole=True, low=1, null=True),
    "task.sample": Range(whole=True, low=0),
    "task.temperature": POSITIVE,
    "task.solved_at": Range(whole=False, low=0, above=True, null=True),
    "lag_mode.first": Range(whole=True, low=1, null=True),
    "lag_mode.factor": Range(whole=False, low=1, above=True),
    "lag_mode.threshold": Range(whole=False, low=0, above=True),
    "trainer.gradient_clip_val": Range(whole=False, low=0, above=True, null=True),
    "trainer.log_every_n_steps": COUNT,
    "trainer.num_nodes": COUNT,
    "logger.wandb.timeout": POSITIVE,
    "runtime.checkpoint_seconds": Range(whole=False, low=0),
}
CHOICES = {
    "lr_schedule": SCHEDULES,
    "trainer.precision": PRECISIONS,
    "trainer.strategy": ("auto", "ddp"),
    "runtime.malloc": malloc.CHOICES,
}
TOP_LEVEL = {
    *(
        "lag",
        "seed",
        "stream",
        "max_steps",
        "batch_size",
        "lr",
        "lr_schedule",
        "warmup_steps",
        "optimizer",
        "validation",
        "eval",
    ),
    *("budget", "published", "resume", "runtime", "tune", "tuned", "model", "task", "lag_mode", "trainer", "logger"),
}


def plain(cfg: DictConfig) -> dict[str, Any]:
    """What a run is asked for, as plain values; interpolations resolved.

    All settings but the folder to go on with and what a sweep is to tune; `tuned`, a name, where it was applied. A
    value from an environment variable, which may be a secret, stays the interpolation that it was (`${oc.env:NAME}`),
    except where it decides what the run is.
    """
    values: Any = OmegaConf.to_container(cfg, resolve=True)
    written: Any = OmegaConf.to_container(cfg, resolve=False)
    for name in ("resume", "tune"):
        values.pop(name, None)
    if not isinstance(values.get("tuned"), str):
        values.pop("tuned", None)
    return {
        name: _without_secrets(value, written[name], written, name) if name in NOT_OF_THE_RUN else value
        for name, value in values.items()
    }


def _without_secrets(value: Any, written: Any, cfg: dict[str, Any], name: str) -> Any:
    """A setting, or a group of them, with each value that comes from the environment as it is written."""
    if isinstance(value, dict) and isinstance(written, dict):
        return {key: _without_secrets(value[key], written[key], cfg, f"{name}.{key}") for key in value}
    if isinstance(value, list) and isinstance(written, list):
        return [_without_secrets(*pair, cfg, name) for pair in zip(value, written, strict=True)]
    return written if name not in OF_THE_TRAINER and _from_environment(written, cfg) else value


def _from_environment(written: Any, cfg: dict[str, Any]) -> bool:
    """Whether a value, as it is written, is read from the environment, be it by way of other settings."""
    if not isinstance(written, str) or not INTERPOLATION.search(written):
        return False
    flat = flattened(cfg)
    others = (flat.get(name) for name in re.findall(r"\$\{([\w.]+)\}", written))
    return "oc.env" in written or any(_from_environment(other, cfg) for other in others)


def check(cfg: DictConfig) -> None:
    """Raise ValueError, in one line, at the first setting that cannot be meant.

    A core of someone else's need not have `num_layers` or `dropout`: a key that is absent is not checked.
    """
    for key in map(str, cfg):
        if key not in TOP_LEVEL:
            raise ValueError(f"{key}: there is no such setting; `python train.py --help` lists them")
    for key, allowed in RANGES.items():
        _refuse(cfg, key, allowed.problem)
    for key, names in CHOICES.items():
        _refuse(cfg, key, lambda value, names=names: _not_one_of(value, names))
    _refuse(cfg, "eval.lags", _lags_problem)
    _refuse(cfg, "trainer.devices", _devices_problem)


def _refuse(cfg: DictConfig, key: str, problem_of: Any) -> None:
    missing = object()
    value = OmegaConf.select(cfg, key, default=missing)
    problem = None if value is missing else problem_of(value)
    if problem:
        raise ValueError(f"{key} {problem}")


def _not_one_of(value: object, names: Sequence[str]) -> str | None:
    return None if str(value) in names else f"must be one of {', '.join(names)}, got {value}"


def _lags_problem(value: Any) -> str | None:
    if value is None:
        return None
    good = OmegaConf.is_list(value) and len(value) > 0 and all(COUNT.problem(lag) is None for lag in value)
    return None if good else f"must be a list of whole numbers of at least 1, such as [10,100], got {value}"


def _devices_problem(value: Any) -> str | None:
    numbered = OmegaConf.is_list(value) and len(value) > 0
    good = value == "auto" or numbered or COUNT.problem(value) is None
    return None if good else f"must be a whole number of at least 1, a list of device numbers, or auto, got {value}"
