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
        key = key_of(word)
        anew = key in given or ("hydra/launcher" in given and key.startswith("hydra.launcher."))  # of another launcher
        if anew or key in PLACES:
            continue
        _check(word, folder)
        (kept if _harmless(word, plugins) else left).append(word)
    if left:
        log.warning("%s: left out %s; give again what is yours", folder / FILE, ", ".join(map(key_of, left)))
    return kept


def key_of(word: str) -> str:
    """The setting or the group that an override is of."""
    return word.partition("=")[0].lstrip("+~")


def _check(word: str, folder: Path) -> None:
    """Raise ValueError for an override that is none, or that a command line of ours may have, but no file."""
    name, _, value = word.partition("=")
    plain = re.sub(r"\\(.)", r"\1", value)  # as Hydra reads `$\{x\}`
    elsewhere = "." not in key_of(word) and ".." in plain  # the file of a group outside of the configuration
    unknown = any(not REFERENCE.match(plain, at.start()) for at in re.finditer(r"\$\{", plain))
    taken_at_all = KEY.fullmatch(name) and ".." not in name
    if not taken_at_all or (not _of_hydra(word) and (elsewhere or unknown)):
        raise ValueError(f"{folder / FILE}: {word[:80]!a} is not taken from a file; give the grid again, with -m")
    several = "{" in value.replace("${", "") and key_of(word).partition(".")[0] in ("tune", "logger")
    if key_of(word) in PATHS or several:
        raise ValueError(f"{folder / FILE}: {key_of(word)} says where files go; give it again, beside resume={folder}")
    try:
        OverridesParser.create().parse_override(word)
    except Exception as error:  # of Hydra, or of the parser's recursion
        raise ValueError(f"{folder / FILE}: {word[:80]!a} is no override; give the grid again, with -m") from error


def _of_hydra(word: str) -> bool:
    return re.split(r"[./]", key_of(word))[0] == "hydra"


def _harmless(word: str, plugins: Mapping[str, Set[str]]) -> bool:
    """Whether an override says what a run is, which launcher or sweeper it has, or a number of theirs."""
    key, given = key_of(word), word.partition("=")[2]
    if not _of_hydra(word):
        return True
    override = OverridesParser.create().parse_override(word)
    for plugin in PLUGINS:
        if key == f"hydra/{plugin}":
            return given in plugins[plugin]
        if key.startswith(f"hydra.{plugin}."):
            return not override.is_sweep_override() and not override.is_delete() and _numbers(override.value())
    return False


def _numbers(value: Any) -> bool:
    """Whether it is a number, null, or a list of such."""
    return all(map(_numbers, value)) if isinstance(value, list) else value is None or isinstance(value, int | float)
