"""Files and text: atomic writes, removal of empty folders, and text without control characters."""

import logging
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

# C0 and C1 control characters (not tab and line feed), and the characters that change the direction of the text.
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """The text with U+FFFD in place of each character that could control a terminal; line feeds and tabs stay."""
    return CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


class PlainFormatter(logging.Formatter):
    """Formats log lines without control characters, which file names and error messages may contain.

    conf/hydra/job_logging/plain.yaml refers to this class.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The log line, printable."""
        return printable(super().format(record))


def all_printable(value: Any) -> Any:
    """The value with every string in it made printable, dictionary keys included."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {printable(str(key)): all_printable(child) for key, child in value.items()}
    return [all_printable(child) for child in value] if isinstance(value, list) else value


def missing(folder: Path) -> list[Path]:
    """The folder and its parents that do not exist yet; the innermost first."""
    return [path for path in (folder, *folder.parents) if not path.exists()]


def leave_nothing(made: Iterable[Path]) -> None:
    """Remove the folders made for a run that was refused. A folder that is not empty stays, and so do its parents.

    Args:
        made: the folders, the innermost first.
    """
    here = Path.cwd()
    with suppress(OSError):
        for path in made:
            if path.resolve() in (here, *here.parents):
                return
            path.rmdir()  # fails with OSError if the folder is not empty


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file next to `path` to write to: it replaces `path` when complete, and is removed if writing fails.

    A killed process may leave it behind, under the name `.longlag-PID-NAME`.
    """
    temporary = path.with_name(f".longlag-{os.getpid()}-{path.name}")
    temporary.unlink(missing_ok=True)  # if it is a symbolic link, writing would change the file that it points to
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())  # on disk before the rename, or a power cut could leave an empty file
        os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def first_line(error: BaseException) -> str:
    """The first line of the error message, or the class name if there is no message."""
    return (str(error) or type(error).__name__).splitlines()[0]


def shown(path: Path) -> Path:
    """The path to show to the user: relative if it is below the working directory."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
