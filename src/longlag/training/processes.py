"""One run in several processes of one machine, one rank per process. All of them start and end together."""

import logging
import os
import pickle
import signal
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import SimpleQueue, get_context
from multiprocessing.process import BaseProcess
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import configure_log
from omegaconf import OmegaConf
from torch.multiprocessing import ProcessExitedException, start_processes

from longlag.training.stop import GRACE, end_with_parent, terminated_like_ctrl_c

OTHERS = 15.0  # seconds that the other processes have to end after one has failed; then SIGTERM, then SIGKILL


def together(environments: Sequence[Mapping[str, str]], function: Callable[..., Any], *arguments: Any) -> None:
    """Call `function(*arguments)` in one process per environment, and wait until all of them have ended.

    If one process fails, or if this process is stopped, all of them are stopped. None outlives this process.

    Args:
        environments: the environment variables to set in each process; the index is the rank.
        function: what every process calls; it must be picklable, and so must its arguments.
        arguments: the same for all processes.

    Raises:
        ChildProcessError: if a process died without raising an exception, for example by a signal.
        Exception: the first exception that a process raised, if any.
        KeyboardInterrupt: if this process is stopped by Ctrl-C or SIGTERM.
    """
    errors = get_context("spawn").SimpleQueue()
    handlers: Any = HydraConfig.get().job_logging if HydraConfig.initialized() else OmegaConf.create({})
    with terminated_like_ctrl_c():
        context = start_processes(
            _rank,
            (list(environments), OmegaConf.to_container(handlers, resolve=True), errors, function, arguments),
            len(environments),
            join=False,
        )
        try:
            while not context.join(grace_period=OTHERS):
                pass
        except ProcessExitedException as lost:
            if lost.exit_code > 0 and not errors.empty():
                raise errors.get() from None
            how = getattr(lost, "signal_name", None) or f"exit code {lost.exit_code}"
            raise ChildProcessError(f"process {lost.error_index} of {len(environments)} died ({how})") from None
        finally:
            _end(context.processes)


def _rank(
    rank: int,
    environments: Sequence[Mapping[str, str]],
    handlers: dict[str, Any],
    errors: "SimpleQueue[BaseException]",
    function: Callable[..., Any],
    arguments: Sequence[Any],
) -> None:
    """The main function of each process. An exception goes to the parent process through the queue `errors`."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start background jobs with SIGINT ignored
    os.environ.update(environments[rank])
    configure_log(OmegaConf.create(handlers) if handlers else None)  # type: ignore[arg-type]
    if rank:
        logging.disable(logging.INFO)  # rank 0 logs for all
    try:
        function(*arguments)
    except Exception as error:
        errors.put(_sendable(error))
        raise SystemExit(1) from error


def _sendable(error: Exception) -> Exception:
    """The error with its traceback as a note; if it cannot be pickled, a RuntimeError with the same message."""
    trace = traceback.format_exc()
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # pickling calls code of the error's class, which may raise anything
        error = RuntimeError(str(error))
    error.add_note(trace)
    return error


def gathered(value: Any) -> list[Any]:
    """The values of all ranks, in the order of the ranks, on every rank. Values are plain or tensors on the CPU."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [value]
    values = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values


def own(values: Sequence[Any], rank: int) -> Any:
    """The gathered value of this rank, or that of rank 0 if the values come from a run with fewer ranks."""
    return values[rank if rank < len(values) else 0]


def _end(processes: Sequence[BaseProcess]) -> None:
    """Send SIGINT to the processes that still run, as Ctrl-C would; kill those that do not end within GRACE."""
    alive = [process for process in processes if process.is_alive()]
    try:
        for process in alive:
            if process.pid:
                os.kill(process.pid, signal.SIGINT)
        end = time.monotonic() + GRACE  # one deadline for all of them
        for process in alive:
            process.join(max(0.0, end - time.monotonic()))
    finally:
        for process in alive:
            process.kill()
            process.join()
