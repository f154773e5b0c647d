"""Launchers: execute the runs of a sweep, report progress, and sum up at the end. Needs no torch."""

import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus, configure_log, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from longlag import records, resume
from longlag.files import first_line, leave_nothing, missing, shown
from longlag.records import Record
from longlag.settings import check, plain
from longlag.sweeps import tuned_settings, tuning
from longlag.sweeps.tuning_score import tuning_score
from longlag.training.stop import terminated_like_ctrl_c

log = logging.getLogger(__name__)


class Cell(NamedTuple):
    """One run of a sweep.

    Attributes:
        number: its index within the sweep.
        name: the name of the folder that Hydra makes for it.
        config: its configuration as Hydra composes it, including Hydra's own settings.
    """

    number: int
    name: str
    config: DictConfig

    @property
    def settings(self) -> DictConfig:
        """The settings of the run, with the tuned settings of its model applied."""
        whole = OmegaConf.masked_copy(self.config, [str(key) for key in self.config if key != "hydra"])
        return tuned_settings.applied(whole, self.choices, self.config.hydra.overrides.task)

    @property
    def choices(self) -> DictConfig:
        """The choice made in each of Hydra's config groups, by group name."""
        return self.config.hydra.runtime.choices

    @property
    def folder(self) -> Path:
        """The folder in which it runs, or was begun."""
        return resume.place(self.settings, Path(self.config.hydra.sweep.dir) / self.name)

    @property
    def record(self) -> Record | None:
        """The stored record of this run, or None if there is none that can be read."""
        try:
            return resume.begun(self.folder)
        except OmegaConfBaseException:  # the configuration is invalid, so no folder can be derived from it
            return None

    @property
    def kept(self) -> JobReturn | None:
        """The stored result if this run ended already, else None. The launcher then skips the run."""
        record = self.record if self.settings.get("resume") else None
        if record is None or record["status"] not in resume.ENDED:
            return None
        return JobReturn(status=JobStatus.COMPLETED, _return_value=tuning_score(record))


class Sweep(Launcher):
    """What all launchers share: progress while the sweep runs, a table at its end."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Hydra calls this before the sweep. Raises ValueError if the sweep has no folder."""
        if not str(config.hydra.sweep.dir).strip():
            raise ValueError("hydra.sweep.dir names no folder")
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config
        setup_globals()
        configure_log(config.hydra.job_logging, config.hydra.verbose)
        # Hydra sets this for single runs only; the clean-up after a refused sweep reads it
        HydraConfig.instance().set_config(config)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Execute one run for each list of overrides; a run that fails does not stop the others."""
        cells: list[Cell] = []
        returns: dict[int, JobReturn] = {}
        try:
            with self.at_work(len(job_overrides)):
                made = self.cells(job_overrides, initial_job_idx)
                self.check(made)
                tune = made[0].settings.get("tune")
                if tune:
                    tuning.check([(cell.choices, cell.settings) for cell in made], self.config.hydra)
                cells += made
                self.finish(cells, returns)
        except KeyboardInterrupt as stop:
            raise KeyboardInterrupt(self.stopped(cells, len(job_overrides))) from stop
        finally:
            sum_up(cells, returns)
        track(cells)
        if tune:
            returns |= self._tuned(cells)
        return self._returned(cells, returns)

    def stopped(self, cells: Sequence[Cell], of: int) -> str:
        """One line for a stopped sweep: how many runs ended, and the command that resumes it."""
        found = [record for cell in cells if (record := cell.record)]
        ended = sum(record["status"] in resume.ENDED for record in found)
        return f"stopped with {ended} of {of} runs ended; {self.going_on}"

    @property
    def going_on(self) -> str:
        """The hint that names the command which resumes the sweep."""
        return f"go on with: python train.py resume={shown(Path(self.config.hydra.sweep.dir).absolute())}"

    @contextmanager
    def at_work(self, cells: int) -> Iterator[None]:
        """The context in which runs execute: a SIGTERM stops them all. Subclasses start and stop their workers here.

        Args:
            cells: about how many runs there will be.
        """
        with terminated_like_ctrl_c():
            yield

    def cells(self, job_overrides: Sequence[Sequence[str]], first: int) -> list[Cell]:
        """Compose a run for each list of overrides, numbered from `first` on.

        Raises ValueError if there are none, or if two would share a folder.
        """
        cells = [self._cell(first + index, overrides) for index, overrides in enumerate(job_overrides)]
        if not cells:
            raise ValueError("the sweep has no runs: one of the settings has no values")
        if len({cell.name for cell in cells}) < len(cells):
            raise ValueError("hydra.sweep.subdir gives several runs one folder; ${hydra:job.num} tells them apart")
        return cells

    def check(self, cells: Sequence[Cell]) -> None:
        """Check all runs before any of them starts.

        Raises ValueError if the settings of a run are invalid, BlockingIOError if it is locked by another process.
        """
        if refused := [line for cell in cells if (line := _refusal(cell))]:
            raise ValueError(_in_common(refused, len(cells)))
        busy = [cell.name for cell in cells if cell.settings.get("resume") and records.locked(cell.folder)]
        if busy:
            raise BlockingIOError(
                f"{', '.join(busy)}: locked by another process, which is still at work; wait for it, or stop it first"
            )

    def finish(self, cells: Sequence[Cell], returns: dict[int, JobReturn]) -> None:
        """Execute the runs that have not ended yet; store each result in `returns`, by the run's number."""
        kept = {cell.number: done for cell in cells if (done := cell.kept)}
        if kept:
            log.info("%d of %d runs have ended already", len(kept), len(cells))
        returns |= kept
        self._watch([cell for cell in cells if cell.number not in kept], returns)

    def _watch(self, cells: Sequence[Cell], returns: dict[int, JobReturn]) -> None:
        """Execute the runs; store each result in `returns` and log it."""
        started, ended, told = time.monotonic(), [], set[str]()
        with closing(self.run(cells)) as ends:
            for cell, done in ends:
                returns[cell.number] = done
                ended.append(done)
                refusal = "" if cell.record else first_line(done._return_value)
                # an error that many runs share is logged once here, and counted at the end
                if not refusal or refusal not in told:
                    log.info("%s", _news(cell, ended, len(cells), time.monotonic() - started))
                told.add(refusal)

    def run(self, cells: Sequence[Cell]) -> Generator[tuple[Cell, JobReturn]]:
        """Yield each run with its result as soon as it ends."""
        raise NotImplementedError

    def _cell(self, number: int, overrides: Sequence[str]) -> Cell:
        config = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(config):
            config.hydra.job.id = str(number)
            config.hydra.job.num = number
        before = HydraConfig.instance().cfg
        HydraConfig.instance().set_config(config)  # ${hydra:…} in `sweep.subdir` resolves from it
        name = str(config.hydra.sweep.subdir)
        HydraConfig.instance().cfg = before
        return Cell(number, name, config)

    def _tuned(self, cells: Sequence[Cell]) -> dict[int, JobReturn]:
        """Choose from these trials and all earlier ones.

        Returns a tuning score of 0 for each trial that diverged: for the sweeper, it counts as a trial.
        """
        statuses = {cell.number: record["status"] for cell in cells if (record := cell.record)}
        if any(statuses.get(cell.number) not in resume.ENDED for cell in cells):
            log.warning("nothing is tuned: not all trials finished")
        else:
            for shown in tuning.conclude(cells[0].settings, self.config.hydra):
                _console().print(shown, highlight=False, soft_wrap=isinstance(shown, str), markup=False)
        diverged = JobReturn(status=JobStatus.COMPLETED, _return_value=0.0)
        return {number: diverged for number, status in statuses.items() if status == "diverged"}

    def _returned(self, cells: Sequence[Cell], returns: dict[int, JobReturn]) -> list[JobReturn]:
        """The results for Hydra's sweeper.

        Each holds the tuning score of its run; for a failed run, an error that says how many runs failed.
        """
        failed = sum(done.status == JobStatus.FAILED for done in returns.values())
        again = f"resume={shown(Path(self.config.hydra.sweep.dir).absolute())}"
        if cells and not any(cell.record for cell in cells):
            raise ValueError(_in_common([first_line(returns[cell.number]._return_value) for cell in cells]))
        error = ValueError(
            f"{failed} of {len(cells)} runs did not finish; {again} tries again those that did not diverge"
        )
        ordered = [returns[cell.number] for cell in cells]
        return [Failed(error) if done.status == JobStatus.FAILED else done for done in ordered]


class Failed(JobReturn):
    """The result of a run that failed. Unlike Hydra's class, it raises the error without printing a line of its own."""

    def __init__(self, error: BaseException):
        super().__init__(status=JobStatus.FAILED, _return_value=error)

    @property  # type: ignore[misc]
    def return_value(self) -> Any:
        """Raise the error of the run."""
        raise self._return_value


class InProcess(Sweep):
    """Executes one run after another, in this process."""

    def run(self, cells: Sequence[Cell]) -> Generator[tuple[Cell, JobReturn]]:
        """Yield each run with its result as soon as it ends."""
        for cell in cells:
            try:
                done = job(self.hydra_context, self.task_function, cell)
            except Exception as error:  # Hydra does not catch an error in making the run's folder
                done = Failed(error)
            yield cell, done


def _refusal(cell: Cell) -> str | None:
    """Why the settings of a run are invalid, in one line; None if they are valid or the run ended already."""
    try:
        check(cell.settings)
    except (ValueError, OmegaConfBaseException) as error:
        return None if cell.kept else first_line(error)
    return None


def _in_common(lines: Sequence[str], of: int | None = None) -> str:
    """One line for a refused sweep: the most frequent error and how many of the runs have it.

    The sweep has `of` runs; by default as many as there are error lines.
    """
    (line, times), *others = Counter(lines).most_common()
    more = f"; {len(others)} other errors in other runs" if others else ""
    return f"{line} ({times} of {of or len(lines)} runs){more}: nothing was run"


def sum_up(cells: Sequence[Cell], returns: Mapping[int, JobReturn]) -> None:
    """Print the table of all records and a line for each reason why runs did not finish; write the report."""
    from longlag.report import page, table

    found = [(cell, cell.record) for cell in cells]
    console = _console()
    lines = _shortcomings(found, returns)
    if there := [record for _, record in found if record]:
        console.print(table.terminal(table.rows(there)))
        folder = Path(cells[0].config.hydra.sweep.dir)
        page.write(there, folder / "report.html", f"longlag: {folder.name}")
        lines.append(f"report       {shown(folder.absolute() / 'report.html')}")
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else 200)


def _shortcomings(found: Sequence[tuple[Cell, Record | None]], returns: Mapping[int, JobReturn]) -> list[str]:
    """A line for each reason why runs did not finish, with the first such run and the number of others."""
    of_reason: dict[tuple[str, str], list[Cell]] = {}
    for cell, record in found:
        if record is None:
            done = returns.get(cell.number)
            status, why = "no record", first_line(done._return_value) if done else "it was not begun"
        else:
            status, why = record["status"], record["error"] or "stopped, or still at work"
        if status != "finished":
            of_reason.setdefault((status, why.splitlines()[0]), []).append(cell)
    return [
        f"{status:12} {shown(cells[0].folder.absolute())}: {why}"
        + (f" (and {len(cells) - 1} more)" if len(cells) > 1 else "")
        for (status, why), cells in of_reason.items()
    ]


def track(cells: Sequence[Cell]) -> None:
    """Log the sweep as a whole to W&B, if its runs are logged there."""
    there = [(cell, record) for cell in cells if "wandb" in cell.settings.logger and (record := cell.record)]
    if there:
        from longlag.tracking.wandb_sweep import log_sweep

        one = there[0][0]
        group = Path(one.config.hydra.sweep.dir).name
        log_sweep([record for _, record in there], group, plain(one.settings)["logger"]["wandb"])


def _news(cell: Cell, returns: Sequence[JobReturn], cells: int, seconds: float) -> str:
    """One line: how a run ended, the progress of the sweep and the estimated time left."""
    last = returns[-1]
    if last.status == JobStatus.FAILED:
        how = first_line(last._return_value)
    else:
        record = cell.record
        how = (records.accuracy_in_words(record) if record else "") or "ended"
    failed = sum(done.status == JobStatus.FAILED for done in returns)
    left = seconds / len(returns) * (cells - len(returns))
    far = f"{len(returns)} of {cells} cells" + (f", {failed} failed" if failed else "")
    return f"{cell.name}: {how}   [{far}" + (f", about {_duration(left)} left]" if len(returns) < cells else "]")


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 90 else f"{minutes} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def job(hydra_context: HydraContext, task_function: TaskFunction, cell: Cell) -> JobReturn:
    """Execute a run as a Hydra job, in the folder where it was begun.

    A run that is refused leaves no new folder behind.
    """
    folder, config = cell.folder, cell.config.copy()
    with read_write(config.hydra), open_dict(config):
        config.hydra.sweep.subdir = os.path.relpath(folder, config.hydra.sweep.dir)
    made = missing(folder)
    try:
        return run_job(
            hydra_context=hydra_context,
            task_function=task_function,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
    finally:
        leave_nothing(made)
