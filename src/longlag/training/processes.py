"""A run in several processes of one machine, a rank each: they start together and end together."""

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

OTHERS = 15.0  # seconds in which the others may end by themselves once one has failed; then SIGTERM; then SIGKILL


def together(environments: Sequence[Mapping[str, str]], function: Callable[..., Any], *arguments: Any) -> None:
    """Call `function(*arguments)` in a process for each environment, and wait until all have ended.

    None outlives the others, nor this process: where one fails, or this one is stopped, all are.

    Raises:
        ChildProcessError: where one died without a word; what one raised, where it raised.
        KeyboardInterrupt: where this process is stopped, by Ctrl-C or SIGTERM.
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
    """What each process does; those that started it hear of its first error."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts what runs in the background without it
    os.environ.update(environments[rank])
    configure_log(OmegaConf.create(handlers) if handlers else None)  # type: ignore[arg-type]
    if rank:
        logging.disable(logging.INFO)  # the first one tells
    try:
        function(*arguments)
    except Exception as error:
        errors.put(_sendable(error))
        raise SystemExit(1) from error


def _sendable(error: Exception) -> Exception:
    """The error with its traceback as a note, or what it says where it cannot be pickled."""
    trace = traceback.format_exc()
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever the error's class may do
        error = RuntimeError(str(error))
    error.add_note(trace)
    return error


def gathered(value: Any) -> list[Any]:
    """The value of each rank, as all of them get to know it; plain values and tensors on the CPU."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [value]
    values = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values


def own(values: Sequence[Any], rank: int) -> Any:
    """What was gathered of a rank; of the first one where there were fewer."""
    return values[rank if rank < len(values) else 0]


def _end(processes: Sequence[BaseProcess]) -> None:
    """Stop what is left, as Ctrl-C would; kill what does not heed it."""
    alive = [process for process in processes if process.is_alive()]
    try:
        for process in alive:
            if process.pid:
                os.kill(process.pid, signal.SIGINT)
        end = time.monotonic() + GRACE  # of all together
        for process in alive:
            process.join(max(0.0, end - time.monotonic()))
    finally:
        for process in alive:
            process.kill()
            process.join()
