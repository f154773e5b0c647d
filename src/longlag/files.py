"""What is written and shown is whole and harmless: text without control characters, folders that a refused run made."""

import logging
import re
from collections.abc import Iterable
from contextlib import suppress
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
    with suppress(OSError):
        for path in made:
            path.rmdir()
