"""How a command is stopped: by Ctrl-C or SIGTERM, or because the process that started it has ended. Needs no torch."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import parent_process
from typing import Any

GRACE = 30.0  # seconds in which a run that was told to stop may finish its step and write its checkpoint
FIRST = b"\nstopping after this step, with a checkpoint; Ctrl-C again stops at once\n"


class Request:
    """A request to stop, by Ctrl-C or SIGTERM, for one who looks at `asked` where it can be granted.

    A second one raises KeyboardInterrupt at once. In a process that another one watches the second changes nothing:
    Ctrl-C reaches both, and the other one passes it on.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def listen(self) -> None:
        """From now on. A signal that this process was started to ignore stays ignored."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._hear)

    def leave(self) -> None:
        """Put back what was there before `listen`."""
        while self._before:
            signal.signal(*self._before.popitem())

    def _hear(self, *_: Any) -> None:
        if parent_process() is None:
            if self.asked:
                raise KeyboardInterrupt
            os.write(2, FIRST)  # not print: the signal may have come in the middle of one
        self.asked = True


@contextmanager
def terminated_like_ctrl_c() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt, so that everything is put in order on the way out."""
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
    """Have this process end at once when the one that started it has ended, in whatever way; its locks are free then.

    `multiprocessing` gives a spawned process the reading end of a pipe that its parent alone can write to: that ends
    with the parent, SIGKILL included. (PR_SET_PDEATHSIG would fire when the thread ends that started the process, and
    not at all where the parent is dead already.)
    """
    parent = parent_process()

    def watch() -> None:
        assert parent is not None
        parent.join()
        os._exit(1)

    if parent is not None:
        threading.Thread(target=watch, daemon=True, name="end_with_parent").start()
