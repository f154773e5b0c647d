"""The command: Hydra composes the configuration, `longlag.run` does the work, and errors become one line here."""

import logging
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import hydra
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from longlag import records, resume
from longlag.commands import errors, guard, help
from longlag.files import leave_nothing
from longlag.settings import CONF, check, program, renamed
from longlag.sweeps import tuned_settings
from longlag.sweeps.tuning_score import tuning_score

log = logging.getLogger(__name__)


def main(words: Sequence[str]) -> None:
    """Train one run, or with -m a sweep; `words` are the arguments."""
    with errors.errors_in_one_line(words), errors.hydra_raises(), guard.guarding():
        if {"-h", "--help"} & set(words):
            sys.stdout.write(help.text(words))
            return
        # argparse also accepts abbreviations of --experimental-rerun
        if any(word.startswith("--e") for word in words):
            raise ValueError("--experimental-rerun would run what a pickle holds; resume=FOLDER goes on with a run")
        errors.check_choices(words)
        with _arguments(renamed(resume.grid(list(words)))):
            try:
                hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(_job)()
            except BaseException:
                _leave_no_sweep()
                raise
            finally:
                HydraConfig.instance().cfg = None


@contextmanager
def _arguments(words: Sequence[str]) -> Iterator[None]:
    """Give Hydra these arguments: it takes them from `sys.argv`."""
    before = sys.argv
    sys.argv = [before[0], *words]
    try:
        yield
    finally:
        sys.argv = before


def _job(cfg: DictConfig) -> float | None:
    """Execute one run. Returns its tuning score, from validation alone, so that a Hydra sweeper can optimise it."""
    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    of_sweep = hydra_config.mode == RunMode.MULTIRUN
    choices, given = hydra_config.runtime.choices, list(hydra_config.overrides.task)
    new_folders = list(guard.Checked.new_folders)
    try:
        if not of_sweep:
            _check_single(cfg, hydra_config)
        if why := tuned_settings.shortcoming(cfg, choices, given):
            log.warning("%s", why)
        cfg = tuned_settings.applied(cfg, choices, given)
        if of_sweep:
            plan = resume.of_sweep(_asked(cfg, folder, hydra_config))
        elif cfg.resume:
            plan = resume.of_run(cfg, given)
        else:
            plan = _asked(cfg, folder, hydra_config)
        if differs := resume.differences(plan):
            log.warning("%s goes on, no longer bit for bit: %s", plan.folder, ", ".join(differs))
        if plan.ended:
            log.info("%s has ended already: nothing is left to do", plan.folder)
            return tuning_score(plan.begun) if plan.begun else None
        check(plan.cfg)
        return tuning_score(_run(plan))
    except Exception as error:
        if of_sweep or not errors.is_the_users(error):  # the launcher reports it
            raise
        # SystemExit passes through Hydra, which would print a line of its own for other errors
        raise SystemExit(errors.in_one_line(error, sys.argv[1:])) from error
    finally:
        if not of_sweep:
            leave_nothing(new_folders)


def _check_single(cfg: DictConfig, hydra_config: HydraConf) -> None:
    """Raise ValueError if a single run has settings that only a sweep uses, or no folder."""
    if not str(hydra_config.run.dir).strip():
        raise ValueError("hydra.run.dir names no folder")
    for word in hydra_config.overrides.hydra:
        if word.lstrip("+~").partition("=")[0].startswith(errors.FOR_SWEEPS):
            raise ValueError(f"{word}: only a sweep heeds that; add -m")
    if cfg.get("tune"):
        raise ValueError("tune: only a sweep chooses among its runs; add -m, or use experiment=tune")


def _run(plan: resume.RunPlan) -> records.Record:
    """Execute the plan. If stopped, raises KeyboardInterrupt with a line that says at which step and how to resume."""
    from longlag.report import summary
    from longlag.run import is_first, run
    from longlag.training.checkpoints import stopped

    try:
        record = run(plan)
    except KeyboardInterrupt as stop:
        left = resume.begun(plan.folder)
        raise KeyboardInterrupt(stopped(plan.folder, left) if left else "interrupted") from stop
    if is_first():
        summary.show(record, plan.folder)
    return record


def _asked(cfg: DictConfig, folder: Path, hydra_config: HydraConf) -> resume.RunPlan:
    """The plan of the run that the command asks for, with the command that starts this run alone."""
    words = [word for word in hydra_config.overrides.task if not word.startswith("resume=")]
    choices = hydra_config.runtime.choices
    return resume.RunPlan(cfg, folder, choices["model"], choices["task"], f"{program()} {shlex.join(words)}".strip())


def _leave_no_sweep() -> None:
    """Remove the folder of a sweep that was refused, if it holds nothing but the command that Hydra stored."""
    hydra_config = HydraConfig.get() if HydraConfig.initialized() else None
    if hydra_config and hydra_config.mode == RunMode.MULTIRUN:
        folder = Path(hydra_config.sweep.dir)
        if not _going_on() and [path.name for path in folder.glob("*")] == [resume.GRID]:
            (folder / resume.GRID).unlink()
            leave_nothing(guard.Checked.new_folders)


def _going_on() -> bool:
    return any(word.startswith("resume=") for word in sys.argv)
