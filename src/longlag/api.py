"""longlag in Python: train, sweep, load and find. They do what the commands do, with the same settings and records."""

import hashlib
import inspect
import itertools
import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import hydra
import torch
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, open_dict

from longlag import records, resume, settings
from longlag.commands import errors
from longlag.files import first_line
from longlag.records.identity import STREAM, TARGET, differing, flattened, identity
from longlag.report import groups
from longlag.runs import Run, Runs
from longlag.sweeps import tuned_settings

log = logging.getLogger(__name__)

Core = Callable[..., torch.nn.Module]  # a class of a core, or a function that makes one from `input_size`
OWN_RATE = 0.001  # learning rate of a core that has no YAML file, unless one is given: the default of Adam
OUTPUTS = Path("outputs")
SHOWN = 3  # settings that an error message names at most
COLOURFUL = ("FORCE_COLOR", "CLICOLOR_FORCE")  # set in a notebook: a process would send colours into a pipe
PLAIN = (str, int, float, bool, type(None))


def train(
    model: str | Core = "lstm",
    task: str = "copy",
    *,
    folder: str | Path | None = None,
    logger: str = "none",
    **values: Any,
) -> Run:
    """Train one run, as `longlag train` does.

    Args:
        model: a name of `longlag list models`, or your own core: a class derived from `torch.nn.Module`, or a function,
            that makes a core from `input_size`. `functools.partial(MyCore, hidden_size=32)` gives it other arguments.
            The contract of a core is in `longlag.models.network.Network`. Its learning rate is .001 unless `lr` is
            given.
        task: a name of `longlag list tasks`.
        folder: where the record, the weights and the pictures go; by default a new folder below outputs/. If the folder
            holds this run already, the run is resumed, or loaded if it has ended.
        logger: `none`, `csv` or `wandb`. The record is written in any case.
        values: every other setting, such as `lag=100`, `seed=1`, `max_steps=500`. One with a dot in its name is given
            in its group, `budget={"seconds": 60}`, or as `**{"budget.seconds": 60}`. `longlag train --help` lists them.

    Returns:
        The run, with its record and its trained network.

    Raises:
        ValueError: if a setting does not exist, or the run is not possible with these values.
        FileExistsError: if the folder holds another run.
        FloatingPointError: if the training diverged. The record says so too.
    """
    plan = _plan(model, task, folder, {"logger": logger, **values})
    if not plan.ended:
        from longlag.run import run

        run(plan)
    return load(plan.folder, plan.core)


def sweep(
    model: str | Core | Sequence[str | Core] = "lstm",
    task: str | Sequence[str] = "copy",
    *,
    folder: str | Path | None = None,
    workers: int = 1,
    logger: str = "none",
    **values: Any,
) -> Runs:
    """Train every combination of several values, as `longlag train -m` does.

    A list, a tuple or a range stands for several values. A setting that is a list itself, such as `eval.lags`, is
    given inside of another list.

    Models with a name are trained in processes of their own, `workers` at a time. Your own classes and functions are
    trained in this process, one after another, because a class of a notebook cannot be sent to another process.

    Args:
        model, task, logger, values: as in `train`, or several of them.
        folder: where the folders of the runs go; by default a new one below outputs/. Runs that it holds already are
            not repeated.
        workers: how many runs with a named model are trained at a time.

    Returns:
        All runs of the sweep. Those that failed have a status and an error in their record. A run of your own core that
        was refused before it began, as one that sees the future, is logged and left out.

    Raises:
        ValueError: if a setting does not exist, or nothing could be run.
    """
    models = _several(model)
    named, own = [one for one in models if isinstance(one, str)], [one for one in models if not isinstance(one, str)]
    where = Path(folder) if folder else OUTPUTS / f"{_stamp()}_sweep"
    grid = {"task": task, "logger": logger, **values}
    if named:
        _sweep_named(where, workers, {"model": named, **grid})
    refused = [error for core in own for error in _sweep_own(core, where, grid)]
    if refused and not _written(where):
        raise refused[0]
    cores = {_described(core)[TARGET]: core for core in own}
    return Runs(Run(run.record, run.folder, cores.get(run.record["config"]["model"][TARGET])) for run in find(where))


def load(folder: str | Path, model: Core | None = None) -> Run:
    """Open the folder of a run.

    Args:
        folder: the folder, with the record and the trained weights.
        model: the class or function of the core, for a run that was trained with one from Python.

    Returns:
        The run; it unpacks as `network, task, record`.

    Raises:
        FileNotFoundError: if the folder holds no run, or the run has no weights.
        ValueError: if a file is broken, the text corpus has changed, or the record names a class that is not allowed
            (see `longlag.instantiate`).
    """
    from longlag.run import load as load_run

    record = records.read(folder)
    target = str(record["config"]["model"].get(TARGET))
    try:
        network, task, record = load_run(folder, model)
    except ValueError as error:
        if model is None and target in str(error):
            own = target.rpartition(".")[2]
            raise ValueError(f"{error}, or from Python give the class: longlag.load(FOLDER, model={own})") from error
        raise
    return Run(record, Path(folder), model, (network, task))


def find(*folders: str | Path) -> Runs:
    """All runs below the folders. Their networks are loaded when they are asked for.

    Raises FileNotFoundError if a folder has no record that can be read.
    """
    return Runs(Run(record, Path(str(record["folder"]))) for record in groups.find(folders or [OUTPUTS]))


def _plan(model: str | Core, task: str, folder: str | Path | None, values: Mapping[str, Any]) -> resume.RunPlan:
    """The plan of a run; with the record of the run if the folder holds it already."""
    flat, core = flattened(values), None if isinstance(model, str) else model
    if core and hasattr(core, "state_dict") and not isinstance(core, type):
        name = type(core).__name__
        raise ValueError(
            f"model is a core that is made already: give its class, model={name}, which each run makes anew"
        )
    own = {key.partition(".")[2]: value for key, value in flat.items() if core and key.startswith("model.")}
    given = {key: value for key, value in flat.items() if not (core and key.startswith("model."))}
    rate = {} if "lr" in given or core is None else {"lr": OWN_RATE}
    named = {} if core else {"model": model}
    words = [f"{key}={_word(value)}" for key, value in {**named, "task": task, **rate, **given}.items()]
    cfg, choices = _composed(words)
    if core:
        with open_dict(cfg):
            cfg.model, cfg.code = _described(core) | own, _code(core)
    cfg = tuned_settings.applied(cfg, choices, words)
    settings.check(cfg)
    name = _name(core) if core else choices["model"]
    where = Path(folder) if folder else OUTPUTS / f"{_stamp()}_{_about(name, choices['task'], cfg)}"
    plan = resume.RunPlan(cfg, where, name, choices["task"], core=core)
    there = resume.begun(where)
    if there is None:
        return plan
    asked, stored = identity(settings.plain(cfg), without=[STREAM]), identity(there["config"], without=[STREAM])
    if differ := differing([asked, stored]):
        was = ", ".join(f"{key}={stored.get(key)}, not {asked.get(key)}" for key in differ[:SHOWN])
        raise FileExistsError(f"{where} holds another run ({was}); give another folder, or none for a new one")
    return resume.begun_again(plan, there)


def _composed(words: list[str]) -> tuple[DictConfig, dict[str, str]]:
    """The settings that these overrides give, and the choices of the groups. Raises ValueError if one is not known."""
    if outside := [word for word in words if word.startswith(("hydra", "resume=", "tune="))]:
        raise ValueError(f"{outside[0]}: this setting belongs to the command line")
    running, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None  # of a user's own Hydra program
    try:
        with hydra.initialize_config_dir(str(settings.CONF), version_base="1.3"):
            cfg = hydra.compose("config", words, return_hydra_config=True)
    except errors.USER_ERRORS as error:
        raise ValueError(errors.in_one_line(error, words).removeprefix("longlag: ")) from None
    finally:
        GlobalHydra.instance().hydra = running
    choices = {name: str(choice) for name, choice in cfg.hydra.runtime.choices.items()}
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg, choices


def _word(value: Any) -> str:
    """A value as the command line has it."""
    if isinstance(value, list | tuple | range):
        return f"[{','.join(map(_word, value))}]"
    if isinstance(value, str | Path):
        escaped = re.sub(r"(\\*)'", r"\1\1\'", str(value))
        return f"'{escaped}'"
    value = value.item() if hasattr(value, "item") else value  # a number of numpy or torch
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)


def _described(core: Core) -> dict[str, Any]:
    """What the record says of the user's own core: where it is defined, and the arguments that `partial` gives it."""
    made: Any = core.func if isinstance(core, partial) else core
    given = core.keywords if isinstance(core, partial) else {}
    plain = {key: value if isinstance(value, PLAIN) else _where(value) for key, value in given.items()}
    return {TARGET: _where(made), **plain}


def _code(core: Core) -> str | None:
    """A hash of the source of the user's own core: an edited class of the same name makes other runs. None without it.

    It covers the class or the function alone, and nothing that it calls.
    """
    try:
        text = inspect.getsource(core.func if isinstance(core, partial) else core)
    except (OSError, TypeError):
        return None
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _where(made: Any) -> str:
    """The module and the name of a class or a function; for another object, those of its class."""
    named = made if hasattr(made, "__qualname__") else type(made)
    return f"{named.__module__}.{named.__qualname__}"


def _name(core: Core) -> str:
    """The name of the user's own core, for tables and folders."""
    name = _described(core)[TARGET].rpartition(".")[2]
    return name if name.isidentifier() else "own_core"


def _about(model: str, task: str, cfg: DictConfig) -> str:
    return f"{model}_{task}_lag{cfg.lag}_seed{cfg.seed}"


def _stamp() -> str:
    return f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}"


def _several(value: Any) -> list[Any]:
    """The values of one setting of a sweep."""
    return list(value) if isinstance(value, list | tuple | range) else [value]


def _sweep_own(core: Core, where: Path, grid: Mapping[str, Any]) -> list[Exception]:
    """Train one core of the user at every combination, in this process. A run that fails does not end the sweep.

    Returns the errors of the runs that were refused before they began.
    """
    refused: list[Exception] = []
    flat = {key: _several(value) for key, value in flattened(grid).items()}
    for values in itertools.product(*flat.values()):
        one = dict(zip(flat, values, strict=True))
        plan = _plan(core, one.pop("task"), where / "new", one)
        asked = records.begun_hash(settings.plain(plan.cfg))
        about = _about(plan.model, plan.task, plan.cfg)
        free = about if not (where / about).exists() else f"{about}_{asked[:6]}"
        folder = resume.index(where).get(asked, where / free)
        try:
            train(core, folder=folder, **{"task": plan.task, **one})
        except Exception as error:
            if resume.begun(folder) is None:
                refused.append(error)
            log.warning("%s: %s", folder, first_line(error))
    return refused


def _sweep_named(where: Path, workers: int, grid: Mapping[str, Any]) -> None:
    """Train models with a name, as `longlag train -m` does, in a process that shows its progress here.

    Raises ValueError if the sweep was refused.
    """
    words = [f"{key}={','.join(map(_word, _several(value)))}" for key, value in flattened(grid).items()]
    before = _written(where)
    words.append(f"resume={where}" if before else f"hydra.sweep.dir={_word(where)}")
    if workers > 1:
        words += ["hydra/launcher=processes", f"hydra.launcher.workers={workers}"]
    command = [sys.executable, "-m", "longlag", "train", "-m", *words]
    last = ""
    # Its progress goes to standard error, as ours does. Its tables are not shown: `sweep` returns what is in them.
    plain = {name: value for name, value in os.environ.items() if name not in COLOURFUL}
    how: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True, "env": plain}
    with subprocess.Popen(command, **how) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                sys.stderr.write(line)
                last = line.strip() or last
        except KeyboardInterrupt:  # a notebook interrupts this process alone
            process.send_signal(signal.SIGINT)
            process.wait()
            raise
    if process.returncode and _written(where) == before:
        raise ValueError(last.removeprefix("longlag: "))


def _written(where: Path) -> dict[Path, int]:
    """When each record below a folder was written."""
    return {path: path.stat().st_mtime_ns for path in where.rglob(records.FILE)}
