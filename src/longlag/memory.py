"""What cannot fit in the memory of this machine, so that it is refused before it is tried. Needs no torch."""

import os


def physical() -> int:
    """Bytes of memory of this machine; on a GPU there is less."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def fits(size: float) -> bool:
    """Whether so many bytes could fit if nothing else were there."""
    return size <= physical()


def in_words(size: float | None = None) -> str:
    """Bytes in words; without any, all the memory there is."""
    return f"{(physical() if size is None else size) / 2**30:.3g} GiB"


def refused(error: BaseException) -> bool:
    """Whether an error says that memory was asked for and not given: by Python, numpy or torch, on a CPU or a GPU."""
    said = str(error)
    by_torch = any(
        words in said for words in ("allocate memory", "out of memory", "Storage size calculation overflowed")
    )
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and by_torch)
