"""Folders that a refused run must not leave behind, nor take with it."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def missing(folder: Path) -> list[Path]:
    """The folder and those above it, as far as they are not there; the innermost first."""
    return [path for path in (folder, *folder.parents) if not path.exists()]


def leave_nothing(made: Iterable[Path]) -> None:
    """Remove folders that were made for a run that was refused; one that holds anything stays, and those above it."""
    with suppress(OSError):
        for path in made:
            path.rmdir()
