"""The command that started a sweep, as stored in its folder. The folder may come from anybody, so it is untrusted.

Overrides that define the runs are taken from the file. Overrides that decide how Hydra works, where files go or what is
read from the environment must come from the command line. This module does not import torch.
"""

import logging
import re
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

log = logging.getLogger(__name__)

FILE = "multirun.yaml"  # Hydra stores the command of a sweep there, with its whole configuration
LARGEST = 2**18  # largest size of that file in bytes; ours have a few thousand
PLUGINS = ("launcher", "sweeper")  # the only parts of Hydra that a file may choose and set numbers of
PLACES = ("hydra.run.dir", "hydra.sweep.dir", "hydra.mode")  # never taken: every command has its own
PATHS = ("tune.to", "logger.wandb.dir")  # settings that let files go outside of the sweep's folder
KEY = re.compile(r"[+~]{0,2}[A-Za-z_][\w./]*")
OVER = re.compile(r"hydra\.sweeper\.over=[a-z][\w.]*")  # a setting by its name: the only text of a plugin that is taken
REFERENCE = re.compile(r"\$\{(?!hydra\b)(?:[A-Za-z_][\w.]*\}|(?:times|first|sweep):)")  # an allowed interpolation


def read(folder: Path) -> list[str]:
    """The overrides of the stored command, as they were given; those of Hydra come first.

    Raises ValueError if the file does not hold the command of a sweep.
    """
    path = folder / FILE
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError("it is too large")
        kept = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)["hydra"]["overrides"]
        words = [*kept["hydra"], *kept["task"]]
        if not all(isinstance(word, str) for word in words):
            raise ValueError("an override is not a text")
    except Exception as error:  # a broken file may raise anything
        raise ValueError(f"{path} does not hold the command of a sweep; give its grid again, with -m") from error
    return words


def taken(folder: Path, given: Set[str], plugins: Mapping[str, Set[str]]) -> list[str]:
    """The overrides of a stored sweep with which it resumes.

    Of Hydra's own settings only the names of the launcher and the sweeper, and their numbers, are taken. The other ones
    are left out with a warning.

    Args:
        folder: the folder of the sweep.
        given: keys that the command line sets anew.
        plugins: the names that are allowed, for each of PLUGINS.

    Raises:
        ValueError: if the file does not hold a command, or one of its overrides is not allowed in a file.
    """
    kept: list[str] = []
    left: list[str] = []
    for word in read(folder):
        key = key_of(word)
        # A new launcher on the command line also replaces the numbers of the stored one.
        anew = key in given or ("hydra/launcher" in given and key.startswith("hydra.launcher."))
        if anew or key in PLACES:
            continue
        _check(word, folder)
        (kept if _harmless(word, plugins) else left).append(word)
    if left:
        log.warning(
            "%s: these settings are not taken from a file: %s; give them again if you need them",
            folder / FILE,
            ", ".join(map(key_of, left)),
        )
    return kept


def key_of(word: str) -> str:
    """The setting or the group that an override sets."""
    return word.partition("=")[0].lstrip("+~")


def _check(word: str, folder: Path) -> None:
    """Raise ValueError if a word is not an override, or is one that only the command line may have."""
    name, _, value = word.partition("=")
    plain = re.sub(r"\\(.)", r"\1", value)  # without backslashes: Hydra reads `$\{x\}` as an interpolation
    elsewhere = "." not in key_of(word) and ".." in plain  # a group's YAML file outside of the configuration folder
    unknown = any(not REFERENCE.match(plain, at.start()) for at in re.finditer(r"\$\{", plain))
    taken_at_all = KEY.fullmatch(name) and ".." not in name
    if not taken_at_all or (not _of_hydra(word) and (elsewhere or unknown)):
        raise ValueError(f"{folder / FILE}: {word[:80]!a} is not taken from a file; give the grid again, with -m")
    # A dictionary as the value could set one of PATHS without naming it as the key.
    several = "{" in value.replace("${", "") and key_of(word).partition(".")[0] in ("tune", "logger")
    if key_of(word) in PATHS or several:
        raise ValueError(
            f"{folder / FILE}: {key_of(word)} decides where files are written; "
            f"give it again, together with resume={folder}"
        )
    try:
        OverridesParser.create().parse_override(word)
    except Exception as error:  # a Hydra error, or RecursionError in its parser
        raise ValueError(f"{folder / FILE}: {word[:80]!a} is not an override; give the grid again, with -m") from error


def _of_hydra(word: str) -> bool:
    return re.split(r"[./]", key_of(word))[0] == "hydra"


def _harmless(word: str, plugins: Mapping[str, Set[str]]) -> bool:
    """Whether an override defines the run, chooses an allowed launcher or sweeper, or sets one of their numbers."""
    key, given = key_of(word), word.partition("=")[2]
    if not _of_hydra(word):
        return True
    override = OverridesParser.create().parse_override(word)
    if OVER.fullmatch(word):
        return True
    for plugin in PLUGINS:
        if key == f"hydra/{plugin}":
            return given in plugins[plugin]
        if key.startswith(f"hydra.{plugin}."):
            return not override.is_sweep_override() and not override.is_delete() and _numbers(override.value())
    return False


def _numbers(value: Any) -> bool:
    """Whether the value is a number, null, or a list of these."""
    return all(map(_numbers, value)) if isinstance(value, list) else value is None or isinstance(value, int | float)
