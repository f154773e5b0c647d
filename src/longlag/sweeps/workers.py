"""Executes runs of a sweep in parallel worker processes; a failed run does not affect the others. Needs no torch."""

import gc
import logging
import os
import signal
import statistics
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from hydra.core.utils import JobReturn, JobRuntime, JobStatus, setup_globals
from hydra.types import HydraContext, TaskFunction

from longlag import records, resume
from longlag.files import first_line
from longlag.settings import COUNT, POSITIVE, plain
from longlag.sweeps import run_time
from longlag.sweeps.launcher import Failed, Sweep, SweepRun, duration, job
from longlag.sweeps.worker import STOPPED, Died, Worker, stop

log = logging.getLogger(__name__)

OUTPUT = "output.log"  # in a run's folder: its standard output and error


class Processes(Sweep):
    """Executes runs in parallel; each worker process takes one run after another.

    A run that raises, exits, is killed or exceeds `timeout` fails alone; a worker that is lost is replaced.

    Args:
        workers: the number of worker processes; null: one for each entry of `gpus`, or else for each core.
        timeout: seconds that a run may take; null: no limit.
        gpus: numbers of the GPUs to share among the workers. Each worker sees one entry: a GPU, or a list of GPUs.

    Raises:
        ValueError: if an argument is out of its range.
    """

    def __init__(self, workers: int | None = None, timeout: float | None = None, gpus: Sequence[Any] | None = None):
        _check(workers, timeout, gpus)
        self.gpus = list(gpus or [])
        self.workers, self.timeout = workers or len(self.gpus) or os.cpu_count() or 1, timeout
        self._workers: list[Worker] = []
        self._measured: dict[str, float] = {}  # seconds of a run at most, by `run_time.key`

    @contextmanager
    def at_work(self, runs: int) -> Iterator[None]:
        """Start the workers, which import torch while the runs are still being composed; stop them at the end."""
        with super().at_work(runs):
            self._workers = []
            try:
                for number in range(min(self.workers, runs)):
                    gpu = self.gpus[number % len(self.gpus)] if self.gpus else None
                    self._workers.append(Worker(_prepare, gpu))
                yield
            finally:
                stop(self._workers)

    def run(self, runs: Sequence[SweepRun]) -> Generator[tuple[SweepRun, JobReturn]]:
        """Yield each run with its result as soon as it ends; the longest runs begin first."""
        self.predict(runs)
        waiting: SimpleQueue[SweepRun] = SimpleQueue()
        ended: SimpleQueue[tuple[SweepRun, JobReturn]] = SimpleQueue()
        for run in sorted(runs, key=self.seconds_of, reverse=True):
            waiting.put(run)
        for worker in self._workers:
            Thread(target=self._serve, args=(worker, waiting, ended), daemon=True).start()
        try:
            for _ in runs:
                yield ended.get()
        finally:
            with suppress(Empty):
                while True:
                    waiting.get_nowait()

    def predict(self, runs: Sequence[SweepRun]) -> None:
        """Predict the seconds of the runs, by measuring a few training steps in the workers, and log their sum."""
        told = bool(self.seconds)
        keys = {run.number: run_time.key(run.settings) for run in runs if run_time.worthwhile(run.settings)}
        unknown: SimpleQueue[SweepRun] = SimpleQueue()
        for run in {keys[run.number]: run for run in runs if run.number in keys}.values():
            unknown.put(run)
        threads = [Thread(target=self._measure, args=(worker, unknown), daemon=True) for worker in self._workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.seconds |= {number: self._measured[key] for number, key in keys.items() if key in self._measured}
        number, workers = self.planned(runs), len(self._workers)
        told = told and number > len(runs)  # it was said of all trials when the first of them began
        if runs and not told and all(run.number in self.seconds for run in runs):
            total = number * statistics.fmean(map(self.seconds_of, runs))
            log.info(
                "these %d runs take %s of computing at most, %s on %d workers; a run that solves its task ends sooner",
                *(number, duration(total), duration(total / workers), workers),
            )

    def _measure(self, worker: Worker, unknown: SimpleQueue[SweepRun]) -> None:
        """Predict one run after another until none is left. A run that cannot be measured is left out."""
        with suppress(Empty):
            while True:
                settings = unknown.get_nowait().settings
                key = run_time.key(settings)
                with suppress(OSError, RuntimeError):  # the run itself will say what is wrong
                    if key not in self._measured:
                        self._measured[key] = worker.call(run_time.predicted, settings, timeout=self.timeout)

    def _serve(
        self, worker: Worker, waiting: SimpleQueue[SweepRun], ended: SimpleQueue[tuple[SweepRun, JobReturn]]
    ) -> None:
        """Give one run after another to a worker until none is left."""
        with suppress(Empty):
            while True:
                run = waiting.get_nowait()
                self.begun[run.number] = time.monotonic()
                done = self._outcome(worker, run)
                del self.begun[run.number]
                ended.put((run, done))

    def _outcome(self, worker: Worker, run: SweepRun) -> JobReturn:
        """The result of a run. A failure is returned, not raised, because `run` waits for one result of every run."""
        try:
            try:
                return JobReturn(status=JobStatus.COMPLETED, _return_value=self._score(worker, run))
            except (TimeoutError, ChildProcessError, InterruptedError) as lost:
                blame(run, lost)
                raise
        except Exception as failure:
            return Failed(failure)

    def _score(self, worker: Worker, run: SweepRun) -> Any:
        """The tuning score of a run that a worker executes.

        Raises an OSError that says how the worker was lost, or a RuntimeError with the error line of the run.
        """
        name = JobRuntime.instance().get("name")
        arguments = self.hydra_context, self.task_function, run, name
        try:
            return worker.call(in_worker, *arguments, timeout=self.timeout)
        except TimeoutError:
            raise TimeoutError(f"it took longer than hydra.launcher.timeout={self.timeout} seconds") from None
        except Died as death:
            raise _death(death.exit_code) from None


def _check(workers: Any, timeout: Any, gpus: Any) -> None:
    """Raise ValueError at the first setting of the launcher that is invalid."""
    if workers is not None and COUNT.problem(workers):
        raise ValueError(f"hydra.launcher.workers {COUNT.problem(workers)}")
    if timeout is not None and POSITIVE.problem(timeout):
        raise ValueError(f"hydra.launcher.timeout {POSITIVE.problem(timeout)}")
    if not (gpus is None or _numbers(gpus) or (_is_list(gpus) and gpus and all(_numbers(some) for some in gpus))):
        raise ValueError(
            f"hydra.launcher.gpus must be a list of GPU numbers, such as [0,1], or of such lists, got {gpus}"
        )


def _numbers(some: Any) -> bool:
    """Whether it is a list of one or more GPU numbers without repeats."""
    whole = _is_list(some) and all(isinstance(number, int) and number >= 0 for number in some)
    return whole and 0 < len(set(some)) == len(some)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _prepare(gpu: int | Sequence[int] | None) -> None:
    """Set up a worker: one compute thread, only its own GPUs visible, torch imported before its first run is timed."""
    os.environ["OMP_NUM_THREADS"] = "1"
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(gpu) if isinstance(gpu, int) else ",".join(map(str, gpu))
    import_module("longlag.run")
    gc.freeze()  # exempt torch's objects from garbage collection, which would take .2 s of a run to scan them


def in_worker(hydra_context: HydraContext, task_function: TaskFunction, run: SweepRun, name: str) -> Any:
    """Execute a run and return its tuning score; its output goes to a file.

    Raises RuntimeError with the error line of the run.
    """
    setup_globals()
    JobRuntime.instance().set("name", name)
    folder = run.folder
    folder.mkdir(parents=True, exist_ok=True)
    with _output_to(folder / OUTPUT):
        done = job(hydra_context, task_function, run)
    if not any((folder / name).exists() for name in (records.FILE, records.LOCK)):  # the run was refused
        (folder / OUTPUT).unlink(missing_ok=True)
        with suppress(OSError):
            folder.rmdir()
    if done.status == JobStatus.FAILED:
        raise RuntimeError(first_line(done._return_value))  # unlike the run's own error, this can always be pickled
    return done.return_value


@contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """Append standard output and error to a file, also what C code and child processes write."""
    kept = [os.dup(number) for number in (1, 2)]
    with path.open("a") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
        try:
            yield
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            for number, old in zip((1, 2), kept, strict=True):
                os.dup2(old, number)
                os.close(old)


def _death(code: int) -> OSError:
    """The error for a worker that ended with this exit code; a negative code is that of a signal."""
    if code == -signal.SIGTERM:
        return InterruptedError(STOPPED)
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return ChildProcessError(f"its process died ({how})" + (", out of memory?" if code == -signal.SIGKILL else ""))


def blame(run: SweepRun, error: OSError) -> None:
    """Write into the record of a run how its process was lost, unless the run had ended.

    A run that has no record yet gets one.
    """
    folder, choices = run.folder, run.config.hydra.runtime.choices
    record = resume.begun(folder) or records.new(plain(run.settings), choices.model, choices.task)
    if record["status"] not in resume.ENDED:
        folder.mkdir(parents=True, exist_ok=True)
        stopped = isinstance(error, InterruptedError)
        record["status"] = "interrupted" if stopped else "failed"
        record["error"] = str(error) if stopped else f"{type(error).__name__}: {error}"
        records.write(record, folder)
