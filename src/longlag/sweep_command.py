"""The command that began a sweep, as its folder keeps it. The folder may come from anybody: its command is data.

What says what a run is may be gone on with. What says how Hydra works, where files go or what is read from the
environment is for the command line alone. Needs no torch.
"""

import logging
import re
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

log = logging.getLogger(__name__)

FILE = "multirun.yaml"  # Hydra keeps the command of a sweep there, with its whole configuration
LARGEST = 2**18  # bytes; one of ours has a few thousand
PLUGINS = ("launcher", "sweeper")  # of Hydra's settings: what a sweep may choose, and whose numbers it may set
PLACES = ("hydra.run.dir", "hydra.sweep.dir", "hydra.mode")  # every sweep has its own
PATHS = ("tune.to", "logger.wandb.dir")  # where files go outside of the sweep's folder
KEY = re.compile(r"[+~]{0,2}[A-Za-z_][\w./]*")
REFERENCE = re.compile(r"\$\{(?!hydra\b)(?:[A-Za-z_][\w.]*\}|(?:times|first|sweep):)")  # to another setting


def read(folder: Path) -> list[str]:
    """The overrides, Hydra's first, as they were given.

    Raises ValueError where the file does not hold any.
    """
    path = folder / FILE
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError("it is too large")
        kept = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)["hydra"]["overrides"]
        words = [*kept["hydra"], *kept["task"]]
        if not all(isinstance(word, str) for word in words):
            raise ValueError("an override is no text")
    except Exception as error:  # a broken file raises whatever its first broken byte leads to
        raise ValueError(f"{path} does not hold the command of a sweep; give its grid again, with -m") from error
    return words


def taken(folder: Path, given: Set[str], plugins: Mapping[str, Set[str]]) -> list[str]:
    """The overrides of a sweep that are gone on with.

    Of Hydra's settings those are the names of its launcher and sweeper and their numbers; what is left out is told.

    Args:
        folder: of the sweep.
        given: keys that the command line sets anew.
        plugins: the names that there are, for each of PLUGINS.

    Raises:
        ValueError: where the file does not hold a command, or one of the overrides does what no file may.
    """
    kept: list[str] = []
    left: list[str] = []
    for word in read(folder):
        override = _parsed(word, folder)
        key = override.key_or_group
        anew = key in given or ("hydra/launcher" in given and key.startswith("hydra.launcher."))  # of another launcher
        if anew or key in PLACES:
            continue
        harmless = _harmless(override, word.partition("=")[2], plugins)
        (kept if harmless else left).append(word if harmless else key)
    if left:
        log.warning("%s: left out %s; give again what is yours", folder / FILE, ", ".join(left))
    return kept


def key_of(word: str) -> str:
    """The setting or the group that an override is of."""
    return word.partition("=")[0].lstrip("+~")


def _parsed(word: str, folder: Path) -> Override:
    """The override. Raises ValueError for one that a command line of ours may have, but no file."""
    name, _, value = word.partition("=")
    plain = re.sub(r"\\(.)", r"\1", value)  # as Hydra reads `$\{x\}`
    group_outside = "." not in key_of(word) and ".." in plain  # a file elsewhere
    unknown = any(not REFERENCE.match(plain, at.start()) for at in re.finditer(r"\$\{", plain))
    if not KEY.fullmatch(name) or ".." in name or group_outside or unknown:
        raise ValueError(f"{folder / FILE}: {word[:80]!a} is not taken from a file; give the grid again, with -m")
    try:
        return OverridesParser.create().parse_override(word)
    except Exception as error:  # of Hydra, or of the parser's recursion
        raise ValueError(f"{folder / FILE}: {word[:80]!a} is no override; give the grid again, with -m") from error


def _harmless(override: Override, given: str, plugins: Mapping[str, Set[str]]) -> bool:
    """Whether an override says what a run is, which launcher or sweeper it has, or a number of theirs."""
    key = override.key_or_group
    if re.split(r"[./]", key)[0] != "hydra":
        holds_more = "{" in given.replace("${", "") and key.partition(".")[0] in ("tune", "logger")
        return key not in PATHS and not holds_more
    for plugin in PLUGINS:
        if key == f"hydra/{plugin}":
            return given in plugins[plugin]
        if key.startswith(f"hydra.{plugin}."):
            return not override.is_sweep_override() and not override.is_delete() and _numbers(override.value())
    return False


def _numbers(value: Any) -> bool:
    """Whether it is a number, null, or a list of such."""
    return all(map(_numbers, value)) if isinstance(value, list) else value is None or isinstance(value, int | float)
