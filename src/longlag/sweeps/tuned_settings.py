"""Tuned settings: `experiment=tune` writes conf/tuned/TASK.yaml, and `tuned=TASK` applies it. Needs no torch."""

import copy
import logging
import os
import re
from collections.abc import Collection, Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from omegaconf import DictConfig, OmegaConf, open_dict

from longlag.files import write_text
from longlag.records.identity import flattened

log = logging.getLogger(__name__)

HEAD = """\
# The settings that tuning chose for each model on task={task}, by validation accuracy alone. See docs/protocol.md.
# tuned={task} applies them, and experiment=gap does so by default. The command line takes precedence.
# Where several lags were tuned, a run takes the settings of the lag nearest to its own in log lag.
# experiment=tune writes this file. If a model is tuned again, its entry is replaced, and the others stay.
"""
HOW = {  # the keys under `how`, which say how a model was tuned, with the comment that the file has for each
    "trials": "number of runs: one for each of the settings under scores, at each lag and seed",
    "lags": "lags that the runs were trained and validated at",
    "seeds": "seeds of the initial weights and of the data",
    "command": "command that tuned this model",
    "learned": "whether a trial beat the memoryless baseline; if not, the model keeps its own settings",
    "at_edge": "chosen values that are at the edge of those tried: a wider grid might do better",
    "scores": "best first; runs: each run's tuning score (mean validation accuracy over the budget); score: their mean",
}
LATER = {"learned": None, "at_edge": None}  # keys of HOW that older files lack; null: not known
NOTHING_LEARNED = "untuned: nothing learned"
Settings = dict[str, Any]  # values by the dotted name of the setting


class Entry(NamedTuple):
    """What a file says of one model, for a run at one lag.

    Attributes:
        settings: the tuned settings.
        lag: the lag that they were tuned at; None if the file does not say, or names several for the same settings.
        learned: whether anything was learned at that lag; None if the file does not say.
        at_edge: `smallest` or `largest`, for each setting whose value is at the edge of those tried.
    """

    settings: Settings
    lag: int | None
    learned: bool | None
    at_edge: dict[str, str]


def applied(cfg: DictConfig, choices: Mapping[str, Any], given: Iterable[str]) -> DictConfig:
    """Return the settings of a run with the tuned settings of its model applied; the command line takes precedence.

    `tuning` says how they were tuned, also of a model that keeps its own because tuning learned nothing with it.

    Args:
        cfg: the settings; `cfg.tuned` holds the contents of the file. If any are applied, its name replaces them there.
        choices: the choice made in each of Hydra's config groups.
        given: the overrides of the command line.
    """
    entry = _entry(cfg, choices)
    used = entry.settings.keys() - {word.partition("=")[0].lstrip("+~") for word in given}
    if not used and entry.learned is not False:
        return cfg
    cfg, name = copy.deepcopy(cfg), str(choices["tuned"])
    for key in used:
        OmegaConf.update(cfg, key, entry.settings[key], force_add=True)  # the run reports a setting that does not exist
    with open_dict(cfg):
        cfg.tuned = name if used else cfg.tuned
        edges = {key: which for key, which in entry.at_edge.items() if key in used}
        cfg.tuning = {"file": name, "lag": entry.lag, "learned": entry.learned, "at_edge": edges}
    return cfg


def shortcoming(cfg: DictConfig, choices: Mapping[str, Any], given: Iterable[str]) -> str | None:
    """Why no tuned settings are applied although the file has some for other models, or None.

    An experiment may name a file that does not exist. Raises ValueError if the command line names one.
    """
    name, found = choices.get("tuned"), cfg.get("tuned")
    if found is None and f"tuned={name}" in [word.lstrip("+") for word in given]:
        raise ValueError(f"tuned={name}: there is no conf/tuned/{name}.yaml; experiment=tune task={name} writes one")
    if OmegaConf.is_dict(found) and found.get("models"):
        entry, model = _entry(cfg, choices), f"model={choices['model']}"
        if entry.learned is False:
            return f"tuned={name}: {model} learned nothing at any setting tried at lag {entry.lag}: it keeps its own"
        if not entry.settings:
            return f"tuned={name} has no settings for {model}: the model keeps its own"
    return None


def nearest(lags: Collection[int], lag: int) -> int:
    """The one of the lags that is nearest to `lag` in log lag; of two equally near ones the smaller."""
    return min(sorted(lags), key=lambda tuned: Fraction(max(tuned, lag), min(tuned, lag)))


def _entry(cfg: DictConfig, choices: Mapping[str, Any]) -> Entry:
    """What the file says of the chosen model, for the lag of the run; an empty entry if it says nothing."""
    settings, how = _under(cfg, "models", choices), _under(cfg, "how", choices)
    of_lag = settings and all(isinstance(key, int) and key > 0 for key in settings)
    lags = list(settings if of_lag else how.get("lags") or [])
    lag = nearest(lags, cfg.lag) if of_lag or len(lags) == 1 else None
    at = {key: how.get(key) for key in LATER}
    if of_lag:
        settings, at = settings[lag], {key: value and value.get(lag) for key, value in at.items()}
    return Entry(flattened(settings), lag, at["learned"], at["at_edge"] or {})


def _under(cfg: DictConfig, part: str, choices: Mapping[str, Any]) -> dict[Any, Any]:
    """The part of the file that is about the chosen model; empty if there is none."""
    node: Any = cfg
    for key in ("tuned", part, str(choices["model"])):
        node = node.get(key)
        if not OmegaConf.is_dict(node):
            return {}
    values: Any = OmegaConf.to_container(node, resolve=True)
    return dict(values)


def writable(folder: Path) -> Path:
    """Make the folder and return it. Raises PermissionError, with a message of one line, if it is not writable."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PermissionError(f"{folder} cannot be made ({error.strerror}); tune.to=FOLDER writes elsewhere") from error
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{folder} cannot be written to; tune.to=FOLDER writes elsewhere")
    return folder


def write(task: str, chosen: Mapping[str, Settings], how: Mapping[str, dict[str, Any]], folder: Path) -> Path:
    """Write `folder`/TASK.yaml. In an existing file, the entries of these models are replaced and the others kept.

    Args:
        task: the task that the models were tuned on.
        chosen: the chosen settings of each model.
        how: the values for the keys of `HOW`, for each model.
        folder: the folder to write to; from conf/tuned, Hydra loads the file as `tuned=TASK`.

    Raises:
        ValueError: if the existing file is broken, or the name of the task is more than letters, digits, _ and -.
        PermissionError: if the folder is not writable.
    """
    if not re.fullmatch(r"\w[\w-]*", task):
        raise ValueError(
            f"task {task!a}: a file cannot have this name; use only letters, digits, _ and - in the name of a task"
        )
    path = writable(folder) / f"{task}.yaml"
    models, tried = _standing(path)
    models, tried = {**models, **chosen}, {**tried, **how}
    _warn_of_unequal(tried)
    lines = [f"task: {_dumped(task)}  # the task that the models were tuned on", "models:"]
    lines += [f"  {_dumped(model)}: {_dumped(models[model])}  # {_remark(models[model])}" for model in sorted(models)]
    lines += ["how:", *(line for model in sorted(tried) for line in _told(model, tried[model]))]
    write_text(path, HEAD.format(task=task) + "\n".join(lines) + "\n")
    return path


def _remark(settings: Settings) -> str:
    """The comment on the settings of a model."""
    if not settings:
        return NOTHING_LEARNED
    best = "the settings with the best tuning score"
    if not any(isinstance(key, int) for key in settings):
        return best
    return f"{best} at each lag" + ("" if all(settings.values()) else "; {}: nothing learned there")


def _told(model: str, how: dict[str, Any]) -> Iterable[str]:
    """The lines of the file that say how a model was tuned."""
    yield f"  {_dumped(model)}:"
    for key, words in HOW.items():
        if key != "scores":
            yield f"    {key}: {_dumped(how[key])}  # {words}"
    yield f"    scores:  # {HOW['scores']}"
    yield from (f"      - {_dumped(one)}" for one in how["scores"])


def _standing(path: Path) -> tuple[dict[str, Settings], dict[str, dict[str, Any]]]:
    """`models` and `how` of the existing file; both are empty if there is none."""
    if not path.exists():
        return {}, {}
    try:
        there: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
        how = {model: {key: (LATER | one)[key] for key in HOW} for model, one in (there.get("how") or {}).items()}
        return dict(there["models"]), how
    except Exception as error:  # a broken file can raise almost any error
        raise ValueError(
            f"{path} is not a file that experiment=tune writes: move it away, or write elsewhere with tune.to=FOLDER"
        ) from error


def _warn_of_unequal(how: Mapping[str, dict[str, Any]]) -> None:
    kinds = {model: f"{one['trials']} trials, lags {one['lags']}" for model, one in how.items()}
    if len(set(kinds.values())) > 1:
        log.warning("these models were not tuned equally: %s", "; ".join(f"{m}: {kind}" for m, kind in kinds.items()))


def _dumped(value: Any) -> str:
    """A value as YAML, on one line, with every `${` escaped so that OmegaConf does not interpolate it."""
    text = yaml.safe_dump([value], default_flow_style=True, width=float("inf"), sort_keys=False, allow_unicode=True)
    return text.strip()[1:-1].replace("${", "\\${")
