"""The allocator behind CPU tensors. Needs no torch.

Glibc hands blocks over 32 MiB back to the system when they are freed, and the top of its heap too; every training step
of a long sequence then has its pages made and zeroed anew. Kept, they make `nn.LSTM` up to twice as fast, and whatever
else works on large blocks faster by what it allocates; docs/benchmarks/cells.json has the figures.
"""

import ctypes
import platform
import sys

M_MMAP_MAX, M_TRIM_THRESHOLD = -4, -1  # of malloc.h


class _Process:
    """What was done to this process; it cannot be undone."""

    malloc = "stock"


def use(choice: str) -> None:
    """`tuned` keeps freed memory in the process from now on; `stock` leaves the allocator as it is.

    Raises:
        ValueError: where `tuned` cannot be had.
    """
    if choice == "stock" or in_use() == "tuned":
        return
    if not (sys.platform == "linux" and platform.libc_ver()[0] == "glibc"):
        raise ValueError("runtime.malloc=tuned needs Linux with glibc; use runtime.malloc=stock")
    mallopt = ctypes.CDLL(None).mallopt
    if not (mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, 2**31 - 1)):
        raise ValueError("runtime.malloc=tuned: glibc refused it; use runtime.malloc=stock")
    _Process.malloc = "tuned"


def in_use() -> str:
    """`stock` or `tuned`: of this process, and so of an earlier run in it too."""
    return _Process.malloc
