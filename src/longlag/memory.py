"""The memory of this machine, to refuse early what cannot fit in it. Does not import torch."""

import os


def physical() -> int:
    """Physical memory of this machine in bytes. A GPU usually has less."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def fits(size: float) -> bool:
    """Whether `size` bytes could fit if the memory were empty."""
    return size <= physical()


def in_words(size: float | None = None) -> str:
    """`size` bytes as text in GiB; without `size`, the whole memory of this machine."""
    return f"{(physical() if size is None else size) / 2**30:.3g} GiB"


def refused(error: BaseException) -> bool:
    """Whether an error of Python, numpy or torch means out of memory, on the CPU or on a GPU."""
    said = str(error)
    by_torch = any(
        words in said for words in ("allocate memory", "out of memory", "Storage size calculation overflowed")
    )
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and by_torch)
