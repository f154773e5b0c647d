"""Launchers for clusters: each run of a sweep is a job of Slurm (or of this machine) via submitit, or a Ray task.

The local jobs serve to try out a sweep before it is sent to Slurm. Needs no torch.
"""

import os
import signal
import time
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from functools import partial
from importlib import import_module
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.utils import JobReturn, JobRuntime, JobStatus
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from longlag.files import first_line, shown
from longlag.sweeps.launcher import Failed, Sweep, SweepRun
from longlag.sweeps.workers import blame, in_worker
from longlag.training.stop import GRACE

FOLDER = ".submitit"  # in the sweep's folder: submitit's own files for each job
# submitit's parameters for every cluster; the name of any other is prefixed with that of its cluster, as in slurm_qos
SHARED = ("timeout_min", "nodes", "tasks_per_node", "gpus_per_node", "cpus_per_task", "mem_gb")


class Job(NamedTuple):
    """A run as a submitit job. It resumes a run that was begun, because Slurm may queue the job again at any time."""

    hydra_context: HydraContext
    task_function: TaskFunction
    run: SweepRun
    name: str

    def __call__(self) -> tuple[Any, str | None]:
        """The tuning score and None, or None and the error line of a run that failed."""
        try:
            return in_worker(*self), None
        except RuntimeError as error:
            return None, str(error)
        except KeyboardInterrupt as stopped:  # Lightning made it of the SystemExit of submitit, which wants that one
            raise stopped.__cause__ or stopped from None

    def checkpoint(self) -> Any:
        """The submission that submitit queues again after a timeout or a preemption."""
        return import_module("submitit.helpers").DelayedSubmission(self)


class Submitit(Sweep):
    """What the two launchers that use submitit share.

    Args:
        settings: the settings of a job, see `conf/hydra/launcher/`. They are resolved anew for each run.
    """

    cluster: str

    def __init__(self, **settings: Any):
        self.at_once: int | None = settings.get("at_once")

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Hydra calls this before the sweep. Raises ValueError if submitit is not installed."""
        self.submitit = needed("submitit", "slurm")
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def run(self, runs: Sequence[SweepRun]) -> Generator[tuple[SweepRun, JobReturn]]:
        """Yield each run with its result as soon as it ends."""
        left, jobs = deque(runs), list[tuple[Any, SweepRun]]()
        try:
            while left or jobs:
                free = len(left) if self.at_once is None else min(len(left), self.at_once - len(jobs))
                jobs += self._submit([left.popleft() for _ in range(free)])
                time.sleep(1)
                for job, run in [pair for pair in jobs if pair[0].done()]:
                    jobs.remove((job, run))
                    yield run, outcome(run, partial(_result, job))
        finally:
            self.cancel([job for job, _ in jobs])

    def _submit(self, runs: Iterable[SweepRun]) -> list[tuple[Any, SweepRun]]:
        """Submit the runs; consecutive runs with equal job settings form one job array."""
        jobs = []
        for settings, alike in groupby(runs, self.settings):
            executor, group = self._executor(**settings), list(alike)
            try:
                with executor.batch():
                    begun = [executor.submit(self._job(run)) for run in group]
            except RuntimeError as refused:  # its text is what sbatch printed
                raise ValueError(str(refused)) from refused
            jobs += list(zip(begun, group, strict=True))
        return jobs

    def cancel(self, jobs: Iterable[Any]) -> None:
        """Cancel jobs that have not ended."""
        for job in jobs:
            job.cancel(check=False)

    def settings(self, run: SweepRun) -> dict[str, Any]:
        """The settings of a run's job. Raises ValueError if `trainer.devices` is not a number."""
        found: Any = OmegaConf.to_container(run.config.hydra.launcher, resolve=True)
        if not isinstance(run.settings.trainer.devices, int):
            raise ValueError(
                f"trainer.devices={run.settings.trainer.devices}: on a cluster, give the number of devices, "
                "such as trainer.devices=1"
            )
        if run.settings.trainer.accelerator == "cpu":
            found["gpus_per_node"] = None
        return {name: value for name, value in found.items() if name not in ("_target_", "at_once")}

    def _executor(self, max_num_timeout: int, **settings: Any) -> Any:
        folder = Path(self.config.hydra.sweep.dir).absolute() / FOLDER / "%j"
        executor = self.submitit.AutoExecutor(
            folder, self.cluster, **{f"{self.cluster}_max_num_timeout": max_num_timeout}
        )
        given = {name: value for name, value in settings.items() if value is not None}
        named = {name if name in SHARED else f"{self.cluster}_{name}": value for name, value in given.items()}
        executor.update_parameters(name="longlag", **named)
        return executor

    def _job(self, run: SweepRun) -> Job:
        config = run.config.copy()
        config.resume = str(Path(config.hydra.sweep.dir).absolute())
        name = JobRuntime.instance().get("name")
        return Job(self.hydra_context, self.task_function, run._replace(config=config), name)


class SubmititSlurm(Submitit):
    """Each run is a Slurm job, with one task for each of its devices."""

    cluster = "slurm"


class SubmititLocal(Submitit):
    """The same on this machine, `at_once` jobs at a time; a run on several devices starts its own processes."""

    cluster = "local"

    def cancel(self, jobs: Iterable[Any]) -> None:
        """Cancel as Slurm does: send SIGTERM, then kill the jobs that have not ended after a grace period."""
        running = [job for job in jobs if not job.done()]
        for job in running:
            os.kill(int(job.job_id), signal.SIGTERM)
        end = time.monotonic() + GRACE + 10  # a job of several processes gives them GRACE, then must end itself
        while time.monotonic() < end and not all(job.done() for job in running):
            time.sleep(0.1)
        super().cancel(job for job in running if not job.done())


def _result(job: Any) -> Any:
    """The tuning score, from the first task of a job.

    Raises RuntimeError with the error line of the run, or ChildProcessError if the job was lost.
    """
    try:
        score, line = job.results()[0]
    except Exception as error:  # submitit's error holds the whole output of the job: too long to show
        raise ChildProcessError(f"its job was lost; see {shown(job.paths.folder.absolute())}") from error
    if line is not None:
        raise RuntimeError(line)
    return score


class Ray(Sweep):
    """Each run is a Ray task.

    Args:
        init: the arguments of `ray.init`, such as the address of the cluster.
        remote: the options of `ray.remote`: the resources that a run needs. They are resolved anew for each run.
    """

    def __init__(self, init: dict[str, Any], remote: dict[str, Any]):
        self.init = dict(init)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Hydra calls this before the sweep. Raises ValueError if Ray is not installed."""
        self.ray = needed("ray", "ray")
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def run(self, runs: Sequence[SweepRun]) -> Generator[tuple[SweepRun, JobReturn]]:
        """Yield each run with its result as soon as it ends."""
        stop = signal.getsignal(signal.SIGTERM)
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would send usage statistics to its makers
        self.ray.init(**self.init, ignore_reinit_error=True, log_to_driver=False)
        signal.signal(signal.SIGTERM, stop)  # ray.init has installed its own handler
        tasks = {self._task(run): run for run in runs}
        try:
            while tasks:
                (task,), _ = self.ray.wait(list(tasks))
                run = tasks.pop(task)
                yield run, outcome(run, partial(self._result, task))
        finally:
            for task in tasks:
                self.ray.cancel(task)
            self.ray.shutdown()

    def _task(self, run: SweepRun) -> Any:
        options: Any = OmegaConf.to_container(run.config.hydra.launcher.remote, resolve=True)
        work = self.ray.remote(max_retries=0, **options)(_in_folder)
        return work.remote(os.getcwd(), self.hydra_context, self.task_function, run, JobRuntime.instance().get("name"))

    def _result(self, task: Any) -> Any:
        """The tuning score, from a task.

        Raises RuntimeError with the error line of the run, or ChildProcessError if Ray lost the task.
        """
        try:
            return self.ray.get(task)
        except self.ray.exceptions.RayTaskError as error:
            raise RuntimeError(first_line(error.cause)) from None
        except self.ray.exceptions.RayError as error:
            raise ChildProcessError(f"its worker was lost ({type(error).__name__})") from None


def _in_folder(folder: str, *arguments: Any) -> Any:
    """Call `in_worker` in this working directory: a Ray worker may have started in another one."""
    os.chdir(folder)
    return in_worker(*arguments)


def outcome(run: SweepRun, result: Any) -> JobReturn:
    """The result of a run, also if it failed. If its process was lost, its record is made to say so."""
    try:
        return JobReturn(status=JobStatus.COMPLETED, _return_value=result())
    except ChildProcessError as lost:
        blame(run, lost)
        return Failed(lost)
    except RuntimeError as failure:
        return Failed(failure)


def needed(module: str, extra: str) -> Any:
    """Import an optional module. Raises ValueError, which says how to install it, if it is missing."""
    try:
        return import_module(module)
    except ImportError:
        raise ValueError(f"this launcher needs {module}: pip install 'longlag[{extra}]'") from None
