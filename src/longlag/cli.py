"""The command: Hydra composes the configuration, `longlag.run` does the work, and errors become one line here."""

import logging
import os
import shlex
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from longlag import explain, guard, memory, records, resume, tuned
from longlag.files import leave_nothing
from longlag.settings import CONF, check
from longlag.stop import terminated_like_ctrl_c

log = logging.getLogger(__name__)

FULL_ERROR = "HYDRA_FULL_ERROR"
USER_ERRORS = (
    *(ValueError, OSError, FloatingPointError, MemoryError),
    *(HydraException, OmegaConfBaseException, yaml.YAMLError),
)


def _sweep() -> str | None:
    """The name of the sweep that a run is of."""
    hydra_config = HydraConfig.get() if HydraConfig.initialized() else None
    return Path(hydra_config.sweep.dir).name if hydra_config and hydra_config.mode == RunMode.MULTIRUN else None


# For the YAML files: ${times:1.5,${lag}}, ${first:${resume},outputs}, ${sweep:}.
OmegaConf.register_new_resolver("times", lambda a, b: a * b, replace=True)
OmegaConf.register_new_resolver("first", lambda *given: next(filter(None, given), None), replace=True)
OmegaConf.register_new_resolver("sweep", _sweep, replace=True)


def main() -> None:
    """`python train.py …`, and the console command `longlag …`."""
    with errors_in_one_line(), guard.guarding():
        if any(word.startswith("--e") for word in sys.argv[1:]):
            raise ValueError("--experimental-rerun would run what a pickle holds; resume=FOLDER goes on with a run")
        explain.check_choices(sys.argv[1:])
        sys.argv = [sys.argv[0], *resume.grid(sys.argv[1:])]
        try:
            hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(_job)()
        except BaseException:
            _leave_no_sweep()
            raise
        finally:
            HydraConfig.instance().cfg = None


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """A user's error ends the command with one line and exit code 1, Ctrl-C and SIGTERM with 130.

    `HYDRA_FULL_ERROR=1` traces.
    """
    given, parse_error = os.environ.get(FULL_ERROR), ArgumentParser.error
    os.environ[FULL_ERROR] = "1"  # Hydra then hands errors on to us instead of printing them
    ArgumentParser.error = _raise  # type: ignore[assignment]  # Hydra makes its own parser
    try:
        with terminated_like_ctrl_c():
            yield
    except KeyboardInterrupt as stop:
        sys.stderr.write(f"longlag: {stop or 'interrupted'}\n")
        sys.exit(130)
    except SystemExit as stop:
        if given == "1" and stop.__cause__:
            raise stop.__cause__ from stop.__cause__.__cause__  # with what led to it
        raise
    except Exception as error:
        if given == "1" or not _is_the_users(error):
            raise
        sys.exit(explain.in_one_line(error, sys.argv[1:]))
    finally:
        ArgumentParser.error = parse_error  # type: ignore[method-assign]
        os.environ.pop(FULL_ERROR)
        if given is not None:
            os.environ[FULL_ERROR] = given


def _is_the_users(error: Exception) -> bool:
    """Whether it is no fault of ours."""
    return isinstance(error, USER_ERRORS) or memory.refused(error)


def _raise(_: ArgumentParser, message: str) -> None:
    raise ValueError(f"{message}; --help says what there is")


def _job(cfg: DictConfig) -> float | None:
    """One run. Returns its score, of the validation alone, so that a Hydra sweeper can optimise it."""
    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    of_sweep = hydra_config.mode == RunMode.MULTIRUN
    choices, given = hydra_config.runtime.choices, list(hydra_config.overrides.task)
    try:
        if not of_sweep:
            _check_single(cfg, hydra_config)
        if why := tuned.shortcoming(cfg, choices, given):
            log.warning("%s", why)
        cfg = tuned.applied(cfg, choices, given)
        if of_sweep:
            plan = resume.of_cell(cfg, folder, _names(hydra_config))
        elif cfg.resume:
            plan = resume.of_run(cfg, given)
        else:
            plan = resume.Plan(cfg, folder, _names(hydra_config), begun=None)
        if differs := resume.differences(plan):
            log.warning("%s goes on, no longer bit for bit: %s", plan.folder, ", ".join(differs))
        if plan.ended:
            log.info("%s has come to its end: nothing is left to do", plan.folder)
            return records.score(plan.begun) if plan.begun else None
        check(plan.cfg)
        return records.score(_run(plan))
    except Exception as error:
        if of_sweep or not _is_the_users(error):  # the launcher tells
            raise
        # past Hydra, which would add a line of its own
        raise SystemExit(explain.in_one_line(error, sys.argv[1:])) from error
    finally:
        if not of_sweep:
            leave_nothing(guard.Checked.new_folders)


def _check_single(cfg: DictConfig, hydra_config: HydraConf) -> None:
    """Raise ValueError where a single run is given what only a sweep heeds, or no folder."""
    if not str(hydra_config.run.dir).strip():
        raise ValueError("hydra.run.dir names no folder")
    for word in hydra_config.overrides.hydra:
        if word.lstrip("+~").partition("=")[0].startswith(explain.FOR_SWEEPS):
            raise ValueError(f"{word}: only a sweep heeds that; add -m")
    if cfg.get("tune"):
        raise ValueError("tune: only a sweep chooses among its runs; add -m, or use experiment=tune")


def _run(plan: resume.Plan) -> records.Record:
    """Run it. Raises KeyboardInterrupt, where it is stopped, with a line that says where and how it goes on."""
    from longlag.checkpoints import stopped
    from longlag.run import run

    try:
        return run(plan.cfg, plan.folder, **plan.names, go_on=plan.begun is not None)
    except KeyboardInterrupt as stop:
        record = resume.begun(plan.folder)
        raise KeyboardInterrupt(stopped(plan.folder, record) if record else "interrupted") from stop


def _names(hydra_config: HydraConf) -> dict[str, Any]:
    """The model and the task, and the command that makes this run by itself."""
    words = [word for word in hydra_config.overrides.task if not word.startswith("resume=")]
    chosen = {group: hydra_config.runtime.choices[group] for group in ("model", "task")}
    return chosen | {"command": shlex.join(["python", "train.py", *words])}


def _leave_no_sweep() -> None:
    """Remove the folder of a sweep that was refused, in which there is but what Hydra wrote down of it."""
    hydra_config = HydraConfig.get() if HydraConfig.initialized() else None
    if hydra_config and hydra_config.mode == RunMode.MULTIRUN:
        folder = Path(hydra_config.sweep.dir)
        if not _going_on() and [path.name for path in folder.glob("*")] == [resume.GRID]:
            (folder / resume.GRID).unlink()
            leave_nothing(guard.Checked.new_folders)


def _going_on() -> bool:
    return any(word.startswith("resume=") for word in sys.argv)
