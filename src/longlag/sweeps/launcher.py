"""Launchers: execute the runs of a sweep, report progress, and sum up at the end. Needs no torch."""

import logging
import os
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

from longlag import records, resume
from longlag.files import first_line, leave_nothing, missing, shown
from longlag.records import Record
from longlag.report.terminal import wide_console
from longlag.settings import check, plain, program
from longlag.sweeps import tuned_settings, tuning
from longlag.sweeps.tuning_score import tuning_score
from longlag.training.stop import terminated_like_ctrl_c

log = logging.getLogger(__name__)


class SweepRun(NamedTuple):
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
        self.seconds: dict[int, float] = {}  # by the number of a run: how long it takes at most, as far as known
        self.begun: dict[int, float] = {}  # by the number of a run that has not ended: when it began, if known
        setup_globals()
        configure_log(config.hydra.job_logging, config.hydra.verbose)
        # Hydra sets this for single runs only; the clean-up after a refused sweep reads it
        HydraConfig.instance().set_config(config)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Execute one run for each list of overrides; a run that fails does not stop the others."""
        runs: list[SweepRun] = []
        returns: dict[int, JobReturn] = {}
        try:
            with self.at_work(len(job_overrides)):
                made = self.compose(job_overrides, initial_job_idx)
                self.check(made)
                tune = made[0].settings.get("tune")
                if tune:
                    trials = [(run.choices, run.settings) for run in made]
                    tuning.check(trials, self.config.hydra)
                    if initial_job_idx == 0:
                        log.info("%s", tuning.announced(trials, self.planned(made)))
                runs += made
                self.finish(runs, returns)
        except KeyboardInterrupt as stop:
            raise KeyboardInterrupt(self.stopped(runs, len(job_overrides))) from stop
        finally:
            sum_up(runs, returns)
        track(runs)
        if tune:
            returns |= self._tuned(runs)
        return self._returned(runs, returns)

    def planned(self, runs: Sequence[SweepRun]) -> int:
        """The number of runs of the sweep, of which a sweeper that proposes trials launches some at a time."""
        return max(self.config.hydra.sweeper.get("n_trials") or 0, len(runs))

    def stopped(self, runs: Sequence[SweepRun], of: int) -> str:
        """One line for a stopped sweep: how many runs ended, and the command that resumes it."""
        found = [record for run in runs if (record := run.record)]
        ended = sum(record["status"] in resume.ENDED for record in found)
        return f"stopped with {ended} of {of} runs ended; {self.going_on}"

    @property
    def going_on(self) -> str:
        """The hint that names the command which resumes the sweep."""
        return f"go on with: {program()} resume={shown(Path(self.config.hydra.sweep.dir).absolute())}"

    @contextmanager
    def at_work(self, runs: int) -> Iterator[None]:
        """The context in which runs execute: a SIGTERM stops them all. Subclasses start and stop their workers here.

        Args:
            runs: about how many runs there will be.
        """
        with terminated_like_ctrl_c():
            yield

    def compose(self, job_overrides: Sequence[Sequence[str]], first: int) -> list[SweepRun]:
        """Compose a run for each list of overrides, numbered from `first` on.

        Raises ValueError if there are none, or if two would share a folder.
        """
        runs = [self._run(first + index, overrides) for index, overrides in enumerate(job_overrides)]
        if not runs:
            raise ValueError("the sweep has no runs: one of the settings has no values")
        if len({run.name for run in runs}) < len(runs):
            raise ValueError("hydra.sweep.subdir gives several runs the same folder; put ${hydra:job.num} into it")
        return runs

    def check(self, runs: Sequence[SweepRun]) -> None:
        """Check all runs before any of them starts.

        Raises ValueError if the settings of a run are invalid, BlockingIOError if it is locked by another process.
        """
        if refused := [line for run in runs if (line := _refusal(run))]:
            raise ValueError(_in_common(refused, len(runs)))
        busy = [run.name for run in runs if run.settings.get("resume") and records.locked(run.folder)]
        if busy:
            raise BlockingIOError(
                f"{', '.join(busy)}: locked by another process, which is still running; wait until it ends, or stop it"
            )

    def finish(self, runs: Sequence[SweepRun], returns: dict[int, JobReturn]) -> None:
        """Execute the runs that have not ended yet; store each result in `returns`, by the run's number."""
        kept = {run.number: done for run in runs if (done := run.kept)}
        if kept:
            log.info("%d of %d runs have ended already", len(kept), len(runs))
        returns |= kept
        self._watch([run for run in runs if run.number not in kept], returns)

    def _watch(self, runs: Sequence[SweepRun], returns: dict[int, JobReturn]) -> None:
        """Execute the runs; store each result in `returns` and log it."""
        started, ended, told = time.monotonic(), [], set[str]()
        so_far = 0.0
        with closing(self.run(runs)) as ends:
            for run, done in ends:
                returns[run.number] = done
                ended.append(done)
                so_far += self.seconds_of(run)
                now, whole = time.monotonic(), sum(map(self.seconds_of, runs))
                at_it = sum(min(self.seconds.get(number, 0), now - begun) for number, begun in self.begun.items())
                left = (now - started) * (whole / (so_far + at_it) - 1)
                refusal = "" if run.record else first_line(done._return_value)
                # an error that many runs share is logged once here, and counted at the end
                if not refusal or refusal not in told:
                    log.info("%s", _news(run, ended, len(runs), left))
                told.add(refusal)

    def run(self, runs: Sequence[SweepRun]) -> Generator[tuple[SweepRun, JobReturn]]:
        """Yield each run with its result as soon as it ends."""
        raise NotImplementedError

    def seconds_of(self, run: SweepRun) -> float:
        """The seconds of a run at most; 1 if they are not known: all runs are then taken to be equally long."""
        return self.seconds.get(run.number, 1.0)

    def _run(self, number: int, overrides: Sequence[str]) -> SweepRun:
        config = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(config):
            config.hydra.job.id = str(number)
            config.hydra.job.num = number
        before = HydraConfig.instance().cfg
        HydraConfig.instance().set_config(config)  # ${hydra:…} in `sweep.subdir` resolves from it
        name = str(config.hydra.sweep.subdir)
        HydraConfig.instance().cfg = before
        return SweepRun(number, name, config)

    def _tuned(self, runs: Sequence[SweepRun]) -> dict[int, JobReturn]:
        """Choose from these trials and all earlier ones.

        Returns a tuning score of 0 for each trial that diverged: for the sweeper, it counts as a trial.
        """
        statuses = {run.number: record["status"] for run in runs if (record := run.record)}
        if any(statuses.get(run.number) not in resume.ENDED for run in runs):
            log.warning("nothing is tuned: not all trials finished")
        else:
            for shown in tuning.conclude(runs[0].settings, self.config.hydra):
                wide_console().print(shown, highlight=False, soft_wrap=isinstance(shown, str), markup=False)
        diverged = JobReturn(status=JobStatus.COMPLETED, _return_value=0.0)
        return {number: diverged for number, status in statuses.items() if status == "diverged"}

    def _returned(self, runs: Sequence[SweepRun], returns: dict[int, JobReturn]) -> list[JobReturn]:
        """The results for Hydra's sweeper.

        Each holds the tuning score of its run; for a failed run, an error that says how many runs failed.
        """
        failed = sum(done.status == JobStatus.FAILED for done in returns.values())
        again = f"resume={shown(Path(self.config.hydra.sweep.dir).absolute())}"
        if runs and not any(run.record for run in runs):
            raise ValueError(_in_common([first_line(returns[run.number]._return_value) for run in runs]))
        error = ValueError(
            f"{failed} of {len(runs)} runs did not finish; {again} tries again those that did not diverge"
        )
        ordered = [returns[run.number] for run in runs]
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

    def run(self, runs: Sequence[SweepRun]) -> Generator[tuple[SweepRun, JobReturn]]:
        """Yield each run with its result as soon as it ends."""
        for run in runs:
            try:
                done = job(self.hydra_context, self.task_function, run)
            except Exception as error:  # Hydra does not catch an error in making the run's folder
                done = Failed(error)
            yield run, done


def _refusal(run: SweepRun) -> str | None:
    """Why the settings of a run are invalid, in one line; None if they are valid or the run ended already."""
    try:
        check(run.settings)
    except (ValueError, OmegaConfBaseException) as error:
        return None if run.kept else first_line(error)
    return None


def _in_common(lines: Sequence[str], of: int | None = None) -> str:
    """One line for a refused sweep: the most frequent error and how many of the runs have it.

    The sweep has `of` runs; by default as many as there are error lines.
    """
    (line, times), *others = Counter(lines).most_common()
    more = f"; {len(others)} other errors in other runs" if others else ""
    return f"{line} ({times} of {of or len(lines)} runs){more}: nothing was run"


def sum_up(runs: Sequence[SweepRun], returns: Mapping[int, JobReturn]) -> None:
    """Print the table of all records and a line for each reason why runs did not finish; write the report."""
    from longlag.report import page, table

    found = [(run, run.record) for run in runs]
    console = wide_console()
    lines = _shortcomings(found, returns)
    if there := [record for _, record in found if record]:
        console.print(table.terminal(table.rows(there)))
        folder = Path(runs[0].config.hydra.sweep.dir)
        page.write(there, folder / "report.html", f"longlag: {folder.name}")
        lines.append(f"report       {shown(folder.absolute() / 'report.html')}")
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def _shortcomings(found: Sequence[tuple[SweepRun, Record | None]], returns: Mapping[int, JobReturn]) -> list[str]:
    """A line for each reason why runs did not finish, with the first such run and the number of others."""
    of_reason: dict[tuple[str, str], list[SweepRun]] = {}
    for run, record in found:
        if record is None:
            done = returns.get(run.number)
            status, why = "no record", first_line(done._return_value) if done else "it was not started"
        else:
            status, why = record["status"], record["error"] or "it was stopped, or is still running"
        if status != "finished":
            of_reason.setdefault((status, why.splitlines()[0]), []).append(run)
    return [
        f"{status:12} {shown(runs[0].folder.absolute())}: {why}"
        + (f" (and {len(runs) - 1} more)" if len(runs) > 1 else "")
        for (status, why), runs in of_reason.items()
    ]


def track(runs: Sequence[SweepRun]) -> None:
    """Log the sweep as a whole to W&B, if its runs are logged there."""
    there = [(run, record) for run in runs if "wandb" in run.settings.logger and (record := run.record)]
    if there:
        from longlag.tracking.wandb_sweep import log_sweep

        one = there[0][0]
        group = Path(one.config.hydra.sweep.dir).name
        log_sweep([record for _, record in there], group, plain(one.settings)["logger"]["wandb"])


def _news(run: SweepRun, returns: Sequence[JobReturn], runs: int, left: float) -> str:
    """One line: how a run ended, the progress of the sweep and the estimated time left."""
    last = returns[-1]
    if last.status == JobStatus.FAILED:
        how = first_line(last._return_value)
    else:
        record = run.record
        how = (records.accuracy_in_words(record) if record else "") or "ended"
    failed = sum(done.status == JobStatus.FAILED for done in returns)
    far = f"{len(returns)} of {runs} runs" + (f", {failed} failed" if failed else "")
    return f"{run.name}: {how}   [{far}" + (f", about {duration(left)} left]" if len(returns) < runs else "]")


def duration(seconds: float) -> str:
    """Seconds in words: 45 s, 20 min, 2.5 h."""
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 90 else f"{minutes} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def job(hydra_context: HydraContext, task_function: TaskFunction, run: SweepRun) -> JobReturn:
    """Execute a run as a Hydra job, in the folder where it was begun.

    A run that is refused leaves no new folder behind.
    """
    folder, config = run.folder, run.config.copy()
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
