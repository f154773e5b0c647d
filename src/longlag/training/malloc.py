"""Settings of the glibc allocator, which allocates the memory of CPU tensors. This module does not import torch.

When blocks over 32 MiB are freed, glibc returns them to the system, and it also returns free memory at the top of its
heap. On long sequences every training step then faults in the same pages again, which the kernel fills with zeros. If
the process keeps the memory, `nn.LSTM` is up to twice as fast, and other code gains in proportion to what it allocates
in large blocks. The measurements are in docs/benchmarks/cells.json; those of the memory
of a worker over a sweep are in docs/benchmarks/sweep.json.
"""

import ctypes
import platform
import sys

M_MMAP_MAX, M_TRIM_THRESHOLD = -4, -1  # parameter numbers of mallopt, from malloc.h


class _Process:
    """The allocator setting of this process; it cannot be undone."""

    malloc = "stock"


def use(choice: str) -> None:
    """Choose the allocator.

    Args:
        choice: `tuned` keeps freed memory in the process from now on; `stock` changes nothing; `auto` is `tuned` where
            that is possible.

    Raises:
        ValueError: if `tuned` is not possible on this system.
    """
    if choice == "stock" or in_use() == "tuned" or (choice == "auto" and not _is_glibc()):
        return
    if not _is_glibc():
        raise ValueError("runtime.malloc=tuned needs Linux with glibc; use runtime.malloc=stock")
    # No block comes from mmap, and the heap shrinks only when more than 2 GiB at its top are free.
    mallopt = ctypes.CDLL(None).mallopt
    if mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, 2**31 - 1):
        _Process.malloc = "tuned"
    elif choice == "tuned":
        raise ValueError("runtime.malloc=tuned: glibc refused it; use runtime.malloc=stock")


def release() -> None:
    """Return the memory that earlier runs of this process freed to the system, so that this run's peak is its own."""
    if _is_glibc():
        ctypes.CDLL(None).malloc_trim(0)


def in_use() -> str:
    """The allocator of this process, `stock` or `tuned`; an earlier run in the same process may have chosen it."""
    return _Process.malloc


def _is_glibc() -> bool:
    return sys.platform == "linux" and platform.libc_ver()[0] == "glibc"
