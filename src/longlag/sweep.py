"""The cells of a sweep: run one after another or side by side, watched, and summed up at the end. Needs no torch."""

import logging
import os
import signal
import sys
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import TimeoutError
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager, suppress
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, NamedTuple

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobRuntime, JobStatus, configure_log, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from pebble import ProcessExpired, ProcessPool

from longlag import records, resume
from longlag.records import Record
from longlag.settings import plain

log = logging.getLogger(__name__)

OUTPUT = "output.log"  # in a cell's folder: what it says in a worker process


class Cell(NamedTuple):
    """One run of a sweep.

    Attributes:
        number: within the sweep.
        name: of the folder that Hydra makes for it.
        config: as Hydra composes it, Hydra's own settings included.
    """

    number: int
    name: str
    config: DictConfig

    @property
    def settings(self) -> DictConfig:
        """What the run gets to see."""
        return OmegaConf.masked_copy(self.config, [str(key) for key in self.config if key != "hydra"])

    @property
    def folder(self) -> Path:
        """Where it runs, or was begun."""
        return resume.place(self.settings, Path(self.config.hydra.sweep.dir) / self.name)

    @property
    def record(self) -> Record | None:
        """What there is of it."""
        try:
            return resume.begun(self.folder)
        except OmegaConfBaseException:  # a configuration that says nothing
            return None

    @property
    def kept(self) -> JobReturn | None:
        """What Hydra gets of a cell of the sweep to go on with that has come to its end; None of another."""
        record = self.record if self.settings.get("resume") else None
        if record is None or record["status"] not in resume.ENDED:
            return None
        return JobReturn(status=JobStatus.COMPLETED, _return_value=records.score(record))


class Sweep(Launcher):
    """What both launchers share: progress while it runs, a table at the end."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """As Hydra asks."""
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run a cell for each list of overrides, whatever becomes of the others."""
        setup_globals()
        configure_log(self.config.hydra.job_logging, self.config.hydra.verbose)
        cells = [self._cell(initial_job_idx + index, overrides) for index, overrides in enumerate(job_overrides)]
        returns = {cell.number: kept for cell in cells if (kept := cell.kept)}
        if returns:
            log.info("%d of %d cells have come to their end already", len(returns), len(cells))
        try:
            with _stoppable():
                self._watch([cell for cell in cells if cell.number not in returns], returns)
        finally:
            sum_up(cells, returns)
        track(cells)
        return self._returned(cells, returns)

    def _watch(self, cells: Sequence[Cell], returns: dict[int, JobReturn]) -> None:
        """Run the cells; put down in `returns` and tell how each ends."""
        started, ended = time.monotonic(), []
        with closing(self.run(cells)) as ends:
            for cell, done in ends:
                returns[cell.number] = done
                ended.append(done)
                log.info("%s", _news(cell, ended, len(cells), time.monotonic() - started))

    def run(self, cells: Sequence[Cell]) -> Generator[tuple[Cell, JobReturn]]:
        """Each cell as it ends."""
        raise NotImplementedError

    def _cell(self, number: int, overrides: Sequence[str]) -> Cell:
        config = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(config):
            config.hydra.job.id = str(number)
            config.hydra.job.num = number
        before = HydraConfig.instance().cfg
        HydraConfig.instance().set_config(config)  # the name is made of it
        name = str(config.hydra.sweep.subdir)
        HydraConfig.instance().cfg = before
        return Cell(number, name, config)

    def _returned(self, cells: Sequence[Cell], returns: dict[int, JobReturn]) -> list[JobReturn]:
        """What Hydra's sweepers get: a score each, or an error that says how many failed."""
        failed = sum(done.status == JobStatus.FAILED for done in returns.values())
        again = f"resume={records.shown(Path(self.config.hydra.sweep.dir).absolute())}"
        error = ValueError(
            f"{failed} of {len(cells)} cells did not come to their end; {again} tries those again that did not diverge"
        )
        ordered = [returns[cell.number] for cell in cells]
        return [Failed(error) if done.status == JobStatus.FAILED else done for done in ordered]


class Failed(JobReturn):
    """Of a job that failed: raises its error, and says nothing of its own as Hydra's would."""

    def __init__(self, error: BaseException):
        super().__init__(status=JobStatus.FAILED, _return_value=error)

    @property  # type: ignore[misc]
    def return_value(self) -> Any:
        """Raise."""
        raise self._return_value


class InProcess(Sweep):
    """One cell after another, in this process."""

    def run(self, cells: Sequence[Cell]) -> Generator[tuple[Cell, JobReturn]]:
        """Each cell as it ends."""
        for cell in cells:
            try:
                done = _job(self.hydra_context, self.task_function, cell)
            except Exception as error:  # what Hydra does not catch: its folder cannot be made
                done = Failed(error)
            yield cell, done


class Processes(Sweep):
    """Cells side by side, each worker process taking one after another.

    An exception, a hard exit, a kill for want of memory or a hang is that cell's failure alone; its worker is replaced.

    Args:
        workers: how many; null: one for each core, or for each GPU where `gpus` is given.
        timeout: seconds that a cell may take; null: any time.
        gpus: numbers of the GPUs to share out among the workers; each worker sees one.

    Raises:
        ValueError: where an argument is out of its range.
    """

    def __init__(self, workers: int | None = None, timeout: float | None = None, gpus: Sequence[int] | None = None):
        if workers is not None and workers < 1:
            raise ValueError(f"hydra.launcher.workers must be a whole number of at least 1, got {workers}")
        if timeout is not None and timeout <= 0:
            raise ValueError(f"hydra.launcher.timeout must be above 0, got {timeout}")
        self.gpus = list(gpus or [])
        self.workers, self.timeout = workers or len(self.gpus) or os.cpu_count() or 1, timeout
        self._stopping = False  # cells that lose their worker now are not to blame

    def run(self, cells: Sequence[Cell]) -> Generator[tuple[Cell, JobReturn]]:
        """Each cell as it ends."""
        waiting: SimpleQueue[Cell] = SimpleQueue()
        ended: SimpleQueue[tuple[Cell, JobReturn]] = SimpleQueue()
        for cell in cells:
            waiting.put(cell)
        pools = [self._pool(number) for number in range(min(self.workers, len(cells)))]
        for number in range(len(pools)):
            Thread(target=self._serve, args=(pools, number, waiting, ended), daemon=True).start()
        try:
            for _ in cells:
                yield ended.get()
        finally:
            self._stopping = True
            with suppress(Empty):
                while True:
                    waiting.get_nowait()
            for pool in pools:
                _stop(pool)

    def _pool(self, number: int) -> ProcessPool:
        """A pool of one, so that a worker and the one that replaces it see the same GPU."""
        gpu = self.gpus[number % len(self.gpus)] if self.gpus else None
        return ProcessPool(1, initializer=_prepare, initargs=(gpu,), context=get_context("spawn"))

    def _serve(
        self,
        pools: list[ProcessPool],
        number: int,
        waiting: SimpleQueue[Cell],
        ended: SimpleQueue[tuple[Cell, JobReturn]],
    ) -> None:
        """One cell after another in a pool; in a new one where a worker was lost between two cells."""
        with suppress(Empty):
            while True:
                cell = waiting.get_nowait()
                if not pools[number].active:
                    _stop(pools[number])
                    pools[number] = self._pool(number)
                ended.put((cell, self._outcome(pools[number], cell)))

    def _outcome(self, pool: ProcessPool, cell: Cell) -> JobReturn:
        """Whatever happens, there is one."""
        try:
            try:
                return JobReturn(status=JobStatus.COMPLETED, _return_value=self._score(pool, cell))
            except (TimeoutError, ChildProcessError, InterruptedError) as lost:
                _blame(cell, lost)
                raise
        except BaseException as failure:  # a worker hands on KeyboardInterrupt, too
            return Failed(failure)

    def _score(self, pool: ProcessPool, cell: Cell) -> Any:
        """Of the cell, run by a worker. Raises an OSError that says how the worker was lost, or what the cell did."""
        name = JobRuntime.instance().get("name")
        job = pool.schedule(_in_worker, (self.hydra_context, self.task_function, cell, name), timeout=self.timeout)
        try:
            return job.result()
        except TimeoutError:
            raise TimeoutError(f"it took longer than hydra.launcher.timeout={self.timeout} seconds") from None
        except BrokenProcessPool:
            raise _death(signal.SIGTERM if self._stopping else None) from None
        except ProcessExpired as expired:
            raise _death(expired.exitcode) from None


def sum_up(cells: Sequence[Cell], returns: Mapping[int, JobReturn]) -> None:
    """The table of all there is, the report, and a line for each cell that did not come to its end."""
    from rich.console import Console

    from longlag.report import page, table

    found = [(cell, cell.record) for cell in cells]
    console = Console(width=None if sys.stdout.isatty() else 200)
    lines = [line for cell, record in found for line in _shortcomings(cell, record, returns.get(cell.number))]
    if there := [record for _, record in found if record]:
        console.print(table.terminal(table.rows(there)))
        folder = Path(cells[0].config.hydra.sweep.dir)
        page.write(there, folder / "report.html", f"longlag: {folder.name}")
        lines.append(f"report       {records.shown(folder.absolute() / 'report.html')}")
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def _shortcomings(cell: Cell, record: Record | None, done: JobReturn | None) -> Iterator[str]:
    """Why a cell did not come to its end, where it did not."""
    if record is None:
        status, why = "no record", records.first_line(done._return_value) if done else "it was not begun"
    else:
        status, why = record["status"], record["error"] or "stopped, or still at work"
    if status != "finished":
        yield f"{status:12} {records.shown(cell.folder.absolute())}: {why.splitlines()[0]}"


def track(cells: Sequence[Cell]) -> None:
    """The sweep as a whole in W&B, where its runs are."""
    there = [(cell, record) for cell in cells if "wandb" in cell.settings.logger and (record := cell.record)]
    if there:
        from longlag.report.sweep_runs import log_sweep

        one = there[0][0]
        group = Path(one.config.hydra.sweep.dir).name
        log_sweep([record for _, record in there], group, plain(one.settings)["logger"]["wandb"])


def _news(cell: Cell, returns: Sequence[JobReturn], cells: int, seconds: float) -> str:
    """How a cell ended, and how far the sweep is."""
    last = returns[-1]
    if last.status == JobStatus.FAILED:
        how = records.first_line(last._return_value)
    else:
        how = "ended" if last._return_value is None else f"accuracy {last._return_value:.3f}"
    failed = sum(done.status == JobStatus.FAILED for done in returns)
    left = seconds / len(returns) * (cells - len(returns))
    far = f"{len(returns)} of {cells} cells" + (f", {failed} failed" if failed else "")
    return f"{cell.name}: {how}   [{far}" + (f", about {_duration(left)} left]" if len(returns) < cells else "]")


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 90 else f"{minutes} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def _job(hydra_context: HydraContext, task_function: TaskFunction, cell: Cell) -> JobReturn:
    return run_job(
        hydra_context=hydra_context,
        task_function=task_function,
        config=cell.config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )


def _prepare(gpu: int | None) -> None:
    """A worker computes on one thread, sees one GPU, and has torch before the first cell's time begins."""
    os.environ["OMP_NUM_THREADS"] = "1"
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(gpu)
    import_module("longlag.run")


def _in_worker(hydra_context: HydraContext, task_function: TaskFunction, cell: Cell, name: str) -> Any:
    """The score of a cell; its output goes to a file. Raises RuntimeError with the line that the cell ended with."""
    setup_globals()
    JobRuntime.instance().set("name", name)
    folder = cell.folder
    folder.mkdir(parents=True, exist_ok=True)
    with _output_to(folder / OUTPUT):
        done = _job(hydra_context, task_function, cell)
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


@contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM ends the sweep as Ctrl-C does, workers included."""

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


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


def _blame(cell: Cell, error: OSError) -> None:
    """Say in the record of a cell whose process was lost how it ended."""
    folder, choices = cell.folder, cell.config.hydra.runtime.choices
    record = resume.begun(folder) or records.new(plain(cell.settings), choices.model, choices.task)
    if record["status"] not in resume.ENDED:
        folder.mkdir(parents=True, exist_ok=True)
        stopped = isinstance(error, InterruptedError)
        status, said = ("interrupted", str(error)) if stopped else ("failed", f"{type(error).__name__}: {error}")
        records.write(record | {"status": status, "error": said}, folder)
