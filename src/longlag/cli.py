"""The command: Hydra composes the configuration, `longlag.run` does the work, and errors become one line here."""

import logging
import os
import shlex
import sys
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

from longlag import guard, records, resume, tuned
from longlag.files import leave_nothing, printable
from longlag.settings import check

log = logging.getLogger(__name__)

_INSTALLED = Path(__file__).with_name("conf")  # inside a wheel
_CHECKOUT = Path(__file__).parents[2] / "conf"  # beside src/
CONF = _INSTALLED if _INSTALLED.is_dir() else _CHECKOUT

FULL_ERROR = "HYDRA_FULL_ERROR"
USER_ERRORS = (ValueError, OSError, FloatingPointError, HydraException, OmegaConfBaseException, yaml.YAMLError)


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
        sys.argv = [sys.argv[0], *resume.grid(sys.argv[1:])]
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(_job)()


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """A user's error ends the command with one line and exit code 1, Ctrl-C with 130; `HYDRA_FULL_ERROR=1` traces."""
    given = os.environ.get(FULL_ERROR)
    os.environ[FULL_ERROR] = "1"  # Hydra then hands errors on to us instead of printing them
    try:
        yield
    except KeyboardInterrupt:
        sys.stderr.write("longlag: interrupted\n")
        sys.exit(130)
    except SystemExit as stop:
        if given == "1" and stop.__cause__:
            raise stop.__cause__ from stop.__cause__.__cause__  # with what led to it
        raise
    except USER_ERRORS as error:
        if given == "1":
            raise
        sys.exit(_one_line(error))
    finally:
        os.environ.pop(FULL_ERROR)
        if given is not None:
            os.environ[FULL_ERROR] = given


def _job(cfg: DictConfig) -> float | None:
    """One run. Returns its score, of the validation alone, so that a Hydra sweeper can optimise it."""
    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    of_sweep = hydra_config.mode == RunMode.MULTIRUN
    choices, given = hydra_config.runtime.choices, list(hydra_config.overrides.task)
    try:
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
        from longlag.run import run

        return records.score(run(plan.cfg, plan.folder, **plan.names, go_on=plan.begun is not None))
    except USER_ERRORS as error:
        if of_sweep:  # the launcher tells
            raise
        raise SystemExit(_one_line(error)) from error  # past Hydra, which would add a line of its own
    finally:
        if not of_sweep:
            leave_nothing(guard.Checked.new_folders)


def _names(hydra_config: HydraConf) -> dict[str, Any]:
    """The model and the task, and the command that makes this run by itself."""
    words = [word for word in hydra_config.overrides.task if not word.startswith("resume=")]
    chosen = {group: hydra_config.runtime.choices[group] for group in ("model", "task")}
    return chosen | {"command": shlex.join(["python", "train.py", *words])}


def _one_line(error: BaseException) -> str:
    cause = error.__cause__
    text = str(error).split("Config search path")[0] or type(error).__name__
    if isinstance(error, HydraException) and isinstance(cause, OmegaConfBaseException):
        text += f" ({str(cause).splitlines()[0]})"  # Hydra says which override, OmegaConf says what is wrong with it
    return "longlag: " + printable(" ".join(text.split()))
