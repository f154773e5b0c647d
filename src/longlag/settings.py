"""The allowed values of the general settings, checked in one place. This module does not import torch."""

import logging
import math
import re
import sys
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from longlag import memory
from longlag.records.identity import NOT_OF_THE_RUN, OF_THE_TRAINER, RENAMED, flattened

log = logging.getLogger(__name__)

_INSTALLED = Path(__file__).with_name("conf")  # inside a wheel
_CHECKOUT = Path(__file__).parents[2] / "conf"  # in a checkout, next to src/
CONF = _INSTALLED if _INSTALLED.is_dir() else _CHECKOUT


def sweep() -> str | None:
    """The name of the sweep that this run belongs to; None outside of a sweep."""
    hydra_config = HydraConfig.get() if HydraConfig.initialized() else None
    return Path(hydra_config.sweep.dir).name if hydra_config and hydra_config.mode == RunMode.MULTIRUN else None


# Resolvers for the YAML files, used as ${times:1.5,${lag}}, ${first:${resume},outputs} and ${sweep:}.
OmegaConf.register_new_resolver("times", lambda a, b: a * b, replace=True)
OmegaConf.register_new_resolver("first", lambda *given: next(filter(None, given), None), replace=True)
OmegaConf.register_new_resolver("sweep", sweep, replace=True)

PRECISIONS = ("32-true", "32", "64-true", "64", "bf16-mixed", "16-mixed")
INTERPOLATION = re.compile(r"(?<!\\)(?:\\\\)*\$\{")  # an interpolation that is not escaped
SCHEDULES = ("constant", "cosine")


class Range(NamedTuple):
    """The allowed values of one setting: numbers from `low` to below `high`, and null if `null` is true.

    Attributes:
        whole: whether the number must be an integer.
        low: the lower bound.
        above: whether `low` itself is excluded.
        high: the upper bound, itself excluded; None: no bound.
        null: whether null is allowed.
    """

    whole: bool
    low: float
    above: bool = False
    high: float | None = None
    null: bool = False

    def problem(self, value: Any) -> str | None:
        """The reason why `value` is refused, for the error message; None if it is allowed."""
        if value is None and self.null:
            return None
        number = isinstance(value, int if self.whole else (int, float)) and not isinstance(value, bool)
        if number and self._holds(value):
            return None
        return f"must be {self}, got {said(value)}"

    def _holds(self, value: float) -> bool:
        if not math.isfinite(value):
            return False
        inside = value > self.low if self.above else value >= self.low
        return inside and (self.high is None or value < self.high)

    def __str__(self) -> str:
        """The range in words, for the error message."""
        kind = "a whole number" if self.whole else "a number"
        bound = f"above {self.low:g}" if self.above else f"of at least {self.low:g}"
        return f"{kind} {bound}" + (f" and below {self.high:g}" if self.high is not None else "")


BYTES_A_PARAMETER = 16  # four float32 numbers: the value, its gradient, and Adam's two moment estimates
COUNT = Range(whole=True, low=1)
FROM_ZERO = Range(whole=True, low=0)
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
    "budget.core_parameters": Range(whole=True, low=1, null=True),
    "budget.sequences": Range(whole=True, low=1, null=True),
    "budget.seconds": Range(whole=False, low=0, above=True, null=True),
    "budget.no_progress_at": Range(whole=False, low=0, above=True, high=1, null=True),
    "runtime.threads": Range(whole=True, low=1, high=1025, null=True),  # OpenMP crashes with very many threads
    "model.hidden_size": COUNT,
    "model.num_layers": Range(whole=True, low=1, high=10_000),
    "model.num_heads": COUNT,
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
    "logger.csv.flush_logs_every_n_steps": COUNT,
    "runtime.checkpoint_seconds": Range(whole=False, low=0),
}
CHOICES = {
    "lr_schedule": SCHEDULES,
    "trainer.precision": PRECISIONS,
    "trainer.accelerator": ("auto", "cpu", "gpu", "cuda", "mps"),
    "trainer.strategy": ("auto", "ddp"),
    "runtime.malloc": ("auto", "stock", "tuned"),
    "runtime.kernels": ("library", "native"),
}
SIZES = ("budget.parameters", "budget.core_parameters")  # only one of them may be set
EMBEDDINGS = ("fixed", "learned")
TOP = ["model", "task", "trainer", "lag_mode", "logger", "tuned", "tuning", "code"]  # groups; how was tuned; own core
TEXTS = ("task.prompt", "logger.wandb.project", "logger.wandb.dir")
MADE = ("model", "task", "lag_mode", "trainer", "optimizer")  # each names a class and its arguments
SECTIONS = ("validation", "eval", "budget", "runtime")
OURS = {  # arguments of Lightning's Trainer that cannot be set here, and what to set instead
    "max_steps": "set max_steps",
    "max_epochs": "there are no epochs, because the data never end: set max_steps",
    "max_time": "set budget.seconds",
    "min_steps": "a run ends when it is solved; task.solved_at=null lets it take all of max_steps",
    "min_epochs": "a run ends when it is solved; task.solved_at=null lets it take all of max_steps",
    "val_check_interval": "set validation.every",
    "check_val_every_n_epoch": "set validation.every",
    "limit_val_batches": "set validation.sequences",
    "limit_test_batches": "set eval.sequences",
    "limit_train_batches": "set max_steps",
    "overfit_batches": "set max_steps",
    "fast_dev_run": "set max_steps to a small number",
    "accumulate_grad_batches": "gradients are not accumulated: set batch_size",
    "gradient_clip_algorithm": "the norm of the gradient is clipped: set trainer.gradient_clip_val",
    "logger": "choose one with logger=csv, wandb or none",
    "default_root_dir": "set hydra.run.dir",
    "enable_checkpointing": "set runtime.checkpoint_seconds",
}


def program() -> str:
    """The command that trains, as the user of this process types it."""
    script = Path(sys.argv[0])
    if script.name == "__main__.py" and script.parent.name == "longlag":
        return "python -m longlag train"
    return "python train.py" if script.suffix == ".py" and script.name != "__main__.py" else "longlag train"


def renamed(words: Sequence[str]) -> list[str]:
    """The overrides of a command with settings under their present names; a warning is logged for each old name."""
    now = {first: name for name, first in RENAMED.items()}

    def under_its_name(word: str) -> str:
        key = word.partition("=")[0].lstrip("+~")
        if key not in now:
            return word
        log.warning("%s is now called %s; the next version will not know the old name", key, now[key])
        return word.replace(key, now[key], 1)

    return list(map(under_its_name, words))


def plain(cfg: DictConfig) -> dict[str, Any]:
    """The settings of a run as plain values with interpolations resolved, for its record.

    `resume` and `tune` are left out, and so is `tuned` unless it is a name (then the tuned settings were applied). A
    value from an environment variable may be a secret: it stays an interpolation (`${oc.env:NAME}`), unless it belongs
    to the identity of the run.
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
    """A setting or a group of settings, in which values from the environment stay unresolved interpolations.

    Args:
        value: the resolved value.
        written: the same with its interpolations.
        cfg: the whole configuration with its interpolations.
        name: the dotted name of the setting or group.
    """
    if isinstance(value, dict) and isinstance(written, dict):
        return {key: _without_secrets(value[key], written[key], cfg, f"{name}.{key}") for key in value}
    if isinstance(value, list) and isinstance(written, list):
        return [_without_secrets(*pair, cfg, name) for pair in zip(value, written, strict=True)]
    return written if name not in OF_THE_TRAINER and _from_environment(written, cfg) else value


def _from_environment(written: Any, cfg: dict[str, Any]) -> bool:
    """Whether an unresolved value is read from the environment, directly or through other settings."""
    if not isinstance(written, str) or not INTERPOLATION.search(written):
        return False
    flat = flattened(cfg)
    others = (flat.get(name) for name in re.findall(r"\$\{([\w.]+)\}", written))
    return "oc.env" in written or any(_from_environment(other, cfg) for other in others)


def check(cfg: DictConfig) -> None:
    """Raise ValueError, with a message of one line, at the first setting that is not allowed.

    A key that is absent is not checked, since a user's own core need not have `num_layers` or `dropout`.
    """
    _check_structure(cfg)
    for key, allowed in RANGES.items():
        _refuse(cfg, key, allowed.problem)
    for key, names in CHOICES.items():
        _refuse(cfg, key, lambda value, names=names: _not_one_of(value, names))
    for key in TEXTS:
        _refuse(cfg, key, _text_problem)
    _refuse(cfg, "logger.wandb.tags", _tags_problem)
    _refuse(cfg, "eval.lags", _lags_problem)
    _refuse(cfg, "trainer.devices", _devices_problem)
    _refuse(cfg, "embedding", _embedding_problem)
    for key in SIZES:
        _refuse(cfg, key, _parameters_problem)
    if all(OmegaConf.select(cfg, key) is not None for key in SIZES):
        raise ValueError(f"{' and '.join(SIZES)} exclude each other: set one of them, and leave the other null")


def _check_structure(cfg: DictConfig) -> None:
    """Raise ValueError if a key is unknown, or if an entry that must be a group of settings is a plain value."""
    _check_keys(list(map(str, cfg)), [str(key) for key in shipped("config") if key not in ("defaults", "hydra")] + TOP)
    for name in (*SECTIONS, *MADE, "logger"):
        if name in cfg and not OmegaConf.is_dict(cfg[name]):
            inside = (
                f"{name}._target_" if name in MADE else f"{name}.{next(iter(shipped('config').get(name) or ['csv']))}"
            )
            raise ValueError(f"{name} must hold settings, such as {inside}, got {said(cfg[name])}")
    for name in ("tune", "tuning", "published"):
        if cfg.get(name) is not None and not OmegaConf.is_dict(cfg[name]):
            raise ValueError(f"{name} must hold settings or be null, got {said(cfg[name])}")
    for name in SECTIONS:
        _check_keys(
            [f"{name}.{key}" for key in cfg.get(name, {})], [f"{name}.{key}" for key in shipped("config")[name]]
        )
    known = [f"trainer.{key}" for key in shipped("trainer/auto")]
    _check_keys([f"trainer.{key}" for key in cfg.get("trainer", {})], known)


def _check_keys(given: Sequence[str], known: Sequence[str]) -> None:
    for key in given:
        if key not in known:
            raise ValueError(unknown(key, known))


@cache
def shipped(name: str) -> Any:
    """The content of one of longlag's own YAML files."""
    return yaml.safe_load((CONF / f"{name}.yaml").read_text(encoding="utf-8"))


def unknown(key: str, known: Iterable[str]) -> str:
    """The error message for an unknown setting, with the most similar known one.

    Similar names in the same group come first, then very similar names in any group.
    """
    parent, _, end = key.rpartition(".")
    if parent == "trainer" and end in OURS:
        return f"{key} is Lightning's and has no effect here: {OURS[end]}"
    names = {name: name.rpartition(".") for name in known}
    if key in names:
        return f"{key} cannot be removed; give it a value"
    beside = {tail: name for name, (of, _, tail) in names.items() if of == parent}
    anywhere = {tail: name for name, (_, _, tail) in names.items()}
    near = [beside[tail] for tail in get_close_matches(end, beside, 1, 0.7)]
    near += [anywhere[tail] for tail in get_close_matches(end, anywhere, 1, 0.85)]
    what = f"did you mean {near[0]}?" if near else f"`{program()} --help` lists them"
    return f"{key}: there is no such setting; {what}"


def said(value: Any) -> str:
    """A value as it is written on the command line."""
    return "null" if value is None else "nothing" if value == "" else str(value)


def _refuse(cfg: DictConfig, key: str, problem_of: Any) -> None:
    missing = object()  # a default that no value equals: null is a value
    value = OmegaConf.select(cfg, key, default=missing)
    problem = None if value is missing else problem_of(value)
    if problem:
        raise ValueError(f"{key} {problem}")


def _not_one_of(value: object, names: Sequence[str]) -> str | None:
    return None if str(value) in names else f"must be one of {', '.join(names)}, got {said(value)}"


def _embedding_problem(value: object) -> str | None:
    good = value is None or value in EMBEDDINGS
    return None if good else f"must be one of {', '.join(EMBEDDINGS)} or null, got {said(value)}"


def _text_problem(value: Any) -> str | None:
    good = isinstance(value, str) and value
    return None if good else f"must be a text, in quotes where it could be a number, got {said(value)}"


def _tags_problem(value: Any) -> str | None:
    good = OmegaConf.is_list(value) and all(isinstance(tag, str) for tag in value)
    return None if good else f"must be a list of words, such as [mine,first], got {said(value)}"


def _lags_problem(value: Any) -> str | None:
    if value is None:
        return None
    good = OmegaConf.is_list(value) and len(value) > 0 and all(COUNT.problem(lag) is None for lag in value)
    return None if good else f"must be a list of whole numbers of at least 1, such as [10,100], got {said(value)}"


def _devices_problem(value: Any) -> str | None:
    numbered = OmegaConf.is_list(value) and 0 < len(value) == len(set(value))
    numbered = numbered and all(FROM_ZERO.problem(number) is None for number in value)
    good = value == "auto" or numbered or COUNT.problem(value) is None
    wanted = "a whole number of at least 1, a list of device numbers (each of them once), or auto"
    return None if good else f"must be {wanted}, got {said(value)}"


def _parameters_problem(value: Any) -> str | None:
    fits = value is None or memory.fits(BYTES_A_PARAMETER * value)
    return None if fits else f"must fit in the memory of this machine, {memory.in_words()}, got {value}"
