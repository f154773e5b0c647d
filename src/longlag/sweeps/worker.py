"""A worker process: it calls functions for its parent, one at a time, and ends with its parent. Needs no torch."""

import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from threading import Lock
from typing import Any

from longlag.files import first_line
from longlag.training.stop import GRACE, end_with_parent, terminated_like_ctrl_c

CONTEXT = get_context("spawn")  # a forked process would inherit locks that threads of this one hold
STOPPED = "stopped from outside"


class Died(ChildProcessError):
    """A worker process ended before its call returned. A negative exit code is the number of a signal."""

    def __init__(self, exit_code: int):
        super().__init__(f"exit code {exit_code}")
        self.exit_code = exit_code


class Worker:
    """Calls functions in a process of its own. If that process dies, the next call starts a new one.

    Args:
        prepare, arguments: `prepare(*arguments)` is called first in every new process.
    """

    def __init__(self, prepare: Callable[..., None], *arguments: Any):
        self._made_of = prepare, arguments
        self._lock, self._stopped = Lock(), False
        self._start()

    def call(self, function: Callable[..., Any], *arguments: Any, timeout: float | None = None) -> Any:
        """Call `function(*arguments)` in the process and return its value.

        Raises:
            RuntimeError: if the function raised; the message is the first line of its error.
            InterruptedError: if the call was stopped from outside.
            TimeoutError: if the call took more than `timeout` seconds; the process is then killed.
            Died: if the process ended before the call returned, even with exit code 0.
        """
        self._begin(function, arguments)
        try:
            value, raised, stopped = self._answer(timeout)
        except TimeoutError:
            self.tell_to_stop()
            self._process.join(3)
            self.kill()
            raise
        if stopped:
            self._process.join()
            raise InterruptedError(STOPPED)
        if raised is not None:
            raise RuntimeError(raised)
        return value

    def tell_to_stop(self) -> None:
        """Send SIGTERM: a call in progress is interrupted or stops at its next safe point; an idle process ends."""
        self._process.terminate()

    def start_no_more(self) -> None:
        """Make later calls raise InterruptedError instead of starting a new process."""
        with self._lock:
            self._stopped = True

    def wait(self, seconds: float) -> None:
        """Wait for the process to end, for at most this many seconds."""
        self._process.join(seconds)

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.join()

    def _start(self) -> None:
        with self._lock:
            if self._stopped:
                raise InterruptedError(STOPPED)
            self._pipe, theirs = CONTEXT.Pipe()
            self._process = CONTEXT.Process(target=_work, args=(theirs, *self._made_of))
            self._process.start()
            theirs.close()

    def _begin(self, function: Callable[..., Any], arguments: Sequence[Any]) -> None:
        """Send the call and wait until it has begun; start a new process if this one died since the last call."""
        for at_last in (False, True):
            if not self._process.is_alive():
                self._start()
            with suppress(OSError):  # the process has just died: `_answer` raises Died
                self._pipe.send((function, arguments))
            try:
                self._answer(None)  # the process confirms with "begun"
                return
            except Died:
                if at_last:
                    raise

    def _answer(self, timeout: float | None) -> Any:
        """Return the next message of the process.

        Raises TimeoutError, Died, or after `start_no_more` InterruptedError.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while not self._pipe.poll(0):
            left = 1.0 if end is None else min(1.0, end - time.monotonic())
            if left <= 0:
                raise TimeoutError
            # at most 1 s: if the process dies but leaves a child behind, neither of the two becomes ready
            wait([self._pipe, self._process.sentinel], left)
            if not self._process.is_alive() and not self._pipe.poll(0):
                break
        try:
            return self._pipe.recv() if self._pipe.poll(0) else self._died()
        except (EOFError, OSError):
            return self._died()

    def _died(self) -> Any:
        self._process.join()
        if self._stopped:  # it ended because `stop` told it to
            raise InterruptedError(STOPPED)
        raise Died(self._process.exitcode or 0)


def stop(workers: Sequence[Worker]) -> None:
    """Stop all workers: a call in progress has GRACE seconds to stop by itself; then its process is killed."""
    for worker in workers:
        worker.start_no_more()
        worker.tell_to_stop()
    end = time.monotonic() + GRACE
    try:
        for worker in workers:
            worker.wait(max(0.0, end - time.monotonic()))
    finally:  # also if Ctrl-C interrupts the wait
        for worker in workers:
            worker.kill()


def _work(pipe: Connection, prepare: Callable[..., None], arguments: Sequence[Any]) -> None:
    """The main loop of the process: receive a call, confirm that it begins, make it, send back the result."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, too, which stops its workers
    prepare(*arguments)
    stopped = False
    with suppress(EOFError):
        while not stopped:
            function, arguments = pipe.recv()
            pipe.send("begun")
            value = raised = None
            try:
                with terminated_like_ctrl_c():
                    value = function(*arguments)
            except KeyboardInterrupt:
                stopped = True
            except BaseException as error:
                raised = first_line(error)
            pipe.send((value, raised, stopped))
