"""The cells of a sweep side by side in worker processes, each of which fails by itself. Needs no torch."""

import gc
import os
import signal
import sys
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import TimeoutError
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from hydra.core.utils import JobReturn, JobRuntime, JobStatus, setup_globals
from hydra.types import HydraContext, TaskFunction
from pebble import ProcessExpired, ProcessPool

from longlag import records, resume
from longlag.settings import plain
from longlag.sweep import Cell, Failed, Sweep, job

OUTPUT = "output.log"  # in a cell's folder: what it says in a worker process


class Processes(Sweep):
    """Cells side by side, each worker process taking one after another.

    An exception, a hard exit, a kill for want of memory or a hang is that cell's failure alone; its worker is replaced.

    Args:
        workers: how many; null: one for each core, or for each GPU where `gpus` is given.
        timeout: seconds that a cell may take; null: any time.
        gpus: numbers of the GPUs to share out among the workers; each worker sees one, or those of a list in the list.

    Raises:
        ValueError: where an argument is out of its range.
    """

    def __init__(self, workers: int | None = None, timeout: float | None = None, gpus: Sequence[Any] | None = None):
        if workers is not None and workers < 1:
            raise ValueError(f"hydra.launcher.workers must be a whole number of at least 1, got {workers}")
        if timeout is not None and timeout <= 0:
            raise ValueError(f"hydra.launcher.timeout must be above 0, got {timeout}")
        self.gpus = list(gpus or [])
        self.workers, self.timeout = workers or len(self.gpus) or os.cpu_count() or 1, timeout
        self._pools: list[ProcessPool] = []
        self._stopping = False  # cells that lose their worker now are not to blame

    @contextmanager
    def at_work(self, cells: int) -> Iterator[None]:
        """With the workers, which import torch while the cells are being made up."""
        with super().at_work(cells):
            self._pools = [self._pool(number) for number in range(min(self.workers, cells))]
            try:
                yield
            finally:
                self._stopping = True
                for pool in self._pools:
                    _stop(pool)

    def run(self, cells: Sequence[Cell]) -> Generator[tuple[Cell, JobReturn]]:
        """Each cell as it ends."""
        waiting: SimpleQueue[Cell] = SimpleQueue()
        ended: SimpleQueue[tuple[Cell, JobReturn]] = SimpleQueue()
        for cell in cells:
            waiting.put(cell)
        for number in range(len(self._pools)):
            Thread(target=self._serve, args=(number, waiting, ended), daemon=True).start()
        try:
            for _ in cells:
                yield ended.get()
        finally:
            with suppress(Empty):
                while True:
                    waiting.get_nowait()

    def _pool(self, number: int) -> ProcessPool:
        """A pool of one, so that a worker and the one that replaces it see the same GPU."""
        gpu = self.gpus[number % len(self.gpus)] if self.gpus else None
        pool = ProcessPool(1, initializer=_prepare, initargs=(gpu,), context=get_context("spawn"))
        pool.schedule(int)  # nothing to do, but the worker starts
        return pool

    def _serve(self, number: int, waiting: SimpleQueue[Cell], ended: SimpleQueue[tuple[Cell, JobReturn]]) -> None:
        """One cell after another in a pool; in a new one where a worker was lost between two cells."""
        with suppress(Empty):
            while True:
                cell = waiting.get_nowait()
                if not self._pools[number].active:
                    _stop(self._pools[number])
                    self._pools[number] = self._pool(number)
                ended.put((cell, self._outcome(self._pools[number], cell)))

    def _outcome(self, pool: ProcessPool, cell: Cell) -> JobReturn:
        """Whatever happens, there is one."""
        try:
            try:
                return JobReturn(status=JobStatus.COMPLETED, _return_value=self._score(pool, cell))
            except (TimeoutError, ChildProcessError, InterruptedError) as lost:
                blame(cell, lost)
                raise
        except BaseException as failure:  # a worker hands on KeyboardInterrupt, too
            return Failed(failure)

    def _score(self, pool: ProcessPool, cell: Cell) -> Any:
        """Of the cell, run by a worker. Raises an OSError that says how the worker was lost, or what the cell did."""
        name = JobRuntime.instance().get("name")
        work = pool.schedule(in_worker, (self.hydra_context, self.task_function, cell, name), timeout=self.timeout)
        try:
            return work.result()
        except TimeoutError:
            raise TimeoutError(f"it took longer than hydra.launcher.timeout={self.timeout} seconds") from None
        except BrokenProcessPool:
            raise _death(signal.SIGTERM if self._stopping else None) from None
        except ProcessExpired as expired:
            raise _death(expired.exitcode) from None


def _prepare(gpu: int | Sequence[int] | None) -> None:
    """A worker computes on one thread, sees its GPUs alone, and has torch before the first cell's time begins."""
    os.environ["OMP_NUM_THREADS"] = "1"
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(gpu) if isinstance(gpu, int) else ",".join(map(str, gpu))
    import_module("longlag.run")
    gc.freeze()  # what is there now stays: a collection that looked through torch would take .2 s of a cell


def in_worker(hydra_context: HydraContext, task_function: TaskFunction, cell: Cell, name: str) -> Any:
    """The score of a cell; its output goes to a file. Raises RuntimeError with the line that the cell ended with."""
    setup_globals()
    JobRuntime.instance().set("name", name)
    folder = cell.folder
    folder.mkdir(parents=True, exist_ok=True)
    with _output_to(folder / OUTPUT):
        done = job(hydra_context, task_function, cell)
    if not any((folder / name).exists() for name in (records.FILE, records.LOCK)):  # it was refused
        (folder / OUTPUT).unlink(missing_ok=True)
        with suppress(OSError):
            folder.rmdir()
    if done.status == JobStatus.FAILED:
        raise RuntimeError(records.first_line(done._return_value))  # one that can be sent
    return done.return_value


@contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """Standard output and error, whoever writes to them, at the end of a file."""
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


def _stop(pool: ProcessPool) -> None:
    pool.stop()
    pool.join()


def _death(code: int | None) -> OSError:
    """How a worker ended: by its exit code, the number of SIGTERM among them, or by a signal, which is negative."""
    if code is None:
        return ChildProcessError("its process died before it began")
    if abs(code) == signal.SIGTERM:
        return InterruptedError("stopped from outside")
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return ChildProcessError(f"its process died ({how})" + (", for want of memory?" if code == -signal.SIGKILL else ""))


def blame(cell: Cell, error: OSError) -> None:
    """Say in the record of a cell whose process was lost how it ended."""
    folder, choices = cell.folder, cell.config.hydra.runtime.choices
    record = resume.begun(folder) or records.new(plain(cell.settings), choices.model, choices.task)
    if record["status"] not in resume.ENDED:
        folder.mkdir(parents=True, exist_ok=True)
        stopped = isinstance(error, InterruptedError)
        record["status"] = "interrupted" if stopped else "failed"
        record["error"] = str(error) if stopped else f"{type(error).__name__}: {error}"
        records.write(record, folder)
