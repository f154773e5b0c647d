"""A process that calls functions for this one, one after another, and does not outlive it. Needs no torch."""

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

CONTEXT = get_context("spawn")  # a forked process would share the locks and the threads of this one
STOPPED = "stopped from outside"


class Died(ChildProcessError):
    """A worker process that is gone, with its exit code; that of a signal is negative."""

    def __init__(self, exit_code: int):
        super().__init__(f"exit code {exit_code}")
        self.exit_code = exit_code


class Worker:
    """A process of its own. Where it is lost, the next call starts another one.

    Args:
        prepare, arguments: `prepare(*arguments)` is called in the process before anything else.
    """

    def __init__(self, prepare: Callable[..., None], *arguments: Any):
        self._made_of = prepare, arguments
        self._lock, self._stopped = Lock(), False
        self._start()

    def call(self, function: Callable[..., Any], *arguments: Any, timeout: float | None = None) -> Any:
        """What `function(*arguments)` returns there.

        Raises:
            RuntimeError: with the first line of what it raised.
            InterruptedError: where it was stopped from outside.
            TimeoutError: where it took more than `timeout` seconds; the process is killed then.
            Died: where the process is gone. Exit code 0 makes no difference: the call has not returned.
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
        """Send SIGTERM: a call in progress gets a KeyboardInterrupt or stops where it can, an idle process ends."""
        self._process.terminate()

    def start_no_more(self) -> None:
        """From now on a call raises InterruptedError instead of starting a process."""
        with self._lock:
            self._stopped = True

    def wait(self, seconds: float) -> None:
        """For the process to end, so long at most."""
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
        """Have the call begun; in another process where this one was lost since the last call."""
        for at_last in (False, True):
            if not self._process.is_alive():
                self._start()
            with suppress(OSError):  # it has just died: the answer will tell
                self._pipe.send((function, arguments))
            try:
                self._answer(None)  # that it has begun
                return
            except Died:
                if at_last:
                    raise

    def _answer(self, timeout: float | None) -> Any:
        """What the process sends next. Raises TimeoutError or Died."""
        end = None if timeout is None else time.monotonic() + timeout
        while not self._pipe.poll(0):
            left = 1.0 if end is None else min(1.0, end - time.monotonic())
            if left <= 0:
                raise TimeoutError
            wait([self._pipe, self._process.sentinel], left)  # neither ends where the process leaves a child behind
            if not self._process.is_alive() and not self._pipe.poll(0):
                break
        try:
            return self._pipe.recv() if self._pipe.poll(0) else self._died()
        except (EOFError, OSError):
            return self._died()

    def _died(self) -> Any:
        self._process.join()
        if self._stopped:  # it was killed because it did not heed that
            raise InterruptedError(STOPPED)
        raise Died(self._process.exitcode or 0)


def stop(workers: Sequence[Worker]) -> None:
    """End all of them: what is going on has GRACE seconds to stop by itself, and is killed then."""
    for worker in workers:
        worker.start_no_more()
        worker.tell_to_stop()
    end = time.monotonic() + GRACE
    try:
        for worker in workers:
            worker.wait(max(0.0, end - time.monotonic()))
    finally:  # also where somebody will not wait
        for worker in workers:
            worker.kill()


def _work(pipe: Connection, prepare: Callable[..., None], arguments: Sequence[Any]) -> None:
    """What the process does."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, too, which says what is to be done
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
