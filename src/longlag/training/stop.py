"""How a command is stopped: by Ctrl-C, by SIGTERM, or because its parent process has ended. Does not import torch."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import parent_process
from typing import Any

GRACE = 30.0  # seconds that a run has to finish its step and write its checkpoint after a request to stop
FIRST = b"\nstopping after this step, with a checkpoint; Ctrl-C again stops at once\n"


class Request:
    """A request to stop, by Ctrl-C or SIGTERM. The training polls `asked` where it can stop safely.

    A second request raises KeyboardInterrupt at once. In a child process the second request changes nothing, because
    it is usually the same one: Ctrl-C reaches parent and child, and the parent sends it to the child again.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def listen(self) -> None:
        """Install the signal handlers. A signal that this process was started to ignore stays ignored."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):  # Python allows handlers in the main thread only
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._hear)

    def leave(self) -> None:
        """Restore the handlers that were installed before `listen`."""
        while self._before:
            signal.signal(*self._before.popitem())

    def _hear(self, *_: Any) -> None:
        if parent_process() is None:
            if self.asked:
                raise KeyboardInterrupt
            os.write(2, FIRST)  # print is not reentrant, and the signal may have interrupted one
        self.asked = True


@contextmanager
def terminated_like_ctrl_c() -> Iterator[None]:
    """Let SIGTERM raise KeyboardInterrupt inside this context, so that `finally` blocks and contexts clean up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def end_with_parent() -> None:
    """End this process at once when its parent process ends for any reason, so that its locks become free.

    `multiprocessing` gives a spawned process the reading end of a pipe whose only writing end belongs to the parent.
    The pipe closes when the parent ends, even by SIGKILL. (PR_SET_PDEATHSIG is no alternative: it fires when the
    thread that started the process ends, and never if the parent is already dead.)
    """
    parent = parent_process()

    def watch() -> None:
        assert parent is not None
        parent.join()
        os._exit(1)  # sys.exit would end this thread only

    if parent is not None:
        threading.Thread(target=watch, daemon=True, name="end_with_parent").start()
