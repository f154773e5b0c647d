"""What is written and shown is whole and harmless: files, new folders, text without control characters."""

import logging
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """The text with the replacement character for what would steer a terminal; line ends and tabs stay."""
    return CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


class PlainFormatter(logging.Formatter):
    """Log lines without control characters, which file names and errors may hold; conf/hydra/job_logging names it."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return printable(super().format(record))


def all_printable(value: Any) -> Any:
    """The value with every text in it printable, keys of dictionaries too."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {printable(str(key)): all_printable(child) for key, child in value.items()}
    return [all_printable(child) for child in value] if isinstance(value, list) else value


def missing(folder: Path) -> list[Path]:
    """The folder and those above it, as far as they are not there; the innermost first."""
    return [path for path in (folder, *folder.parents) if not path.exists()]


def leave_nothing(made: Iterable[Path]) -> None:
    """Remove folders that were made for a run that was refused; one that holds anything stays, and those above it."""
    here = Path.cwd()
    with suppress(OSError):
        for path in made:
            if path.resolve() in (here, *here.parents):
                return
            path.rmdir()


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside `path` to write to; it becomes `path` when it is complete, and vanishes when writing it fails.

    What a killed process leaves of it has a name that matches TEMPORARY.
    """
    temporary = path.with_name(f".longlag-{os.getpid()}-{path.name}")
    temporary.unlink(missing_ok=True)  # writing to a link of that name would write to what it leads to
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return (str(error) or type(error).__name__).splitlines()[0]


def shown(path: Path) -> Path:
    """A path as a user wants to read it: from the working directory on where it lies below it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
