"""Turns the error of a command into one line: what is wrong, and what to do. Needs no torch."""

import os
import re
import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, InstantiationException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from longlag import memory
from longlag.settings import CONF, said, unknown
from longlag.training.stop import terminated_like_ctrl_c

EXTRAS = {"hydra/sweeper/optuna": "optuna"}  # choices that Hydra finds only if an extra is installed
# prefixes of overrides that only a sweep uses
FOR_SWEEPS = ("hydra/launcher", "hydra/sweeper", "hydra.launcher", "hydra.sweeper", "hydra.sweep")
TEMPORARY = r"(?<![^/])\.longlag-\d+-"  # prefix of a file still being written; see files.replacing
FULL_ERROR = "HYDRA_FULL_ERROR"
# errors that the user can correct: shown in one line, without a traceback
USER_ERRORS = (
    *(ValueError, OSError, FloatingPointError, MemoryError),
    *(HydraException, OmegaConfBaseException, yaml.YAMLError),
)

GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir() and path.name != "hydra")


def in_one_line(error: BaseException, words: Sequence[str]) -> str:
    """The line to print for the error that ended a command; `words` are the command's arguments."""
    return "longlag: " + " ".join(_said(error, words).split())


def _said(error: BaseException, words: Sequence[str]) -> str:  # noqa: PLR0911
    text, cause = str(error).split("Config search path")[0] or type(error).__name__, error.__cause__
    if memory.refused(error):
        return f"out of memory ({text.splitlines()[0]}): take a smaller lag, batch_size or model.hidden_size"
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{re.sub(TEMPORARY, '', str(error.filename2 or error.filename))}: {error.strerror}"
    if isinstance(error, OverrideParseException):
        return f"{error.override}: cannot be read as KEY=VALUE; put quotes around what holds brackets, quotes or spaces"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _no_choice(error.missing_cfg_file, error.options or [], text)
    if isinstance(error, InstantiationException) and cause:
        return str(cause) if isinstance(cause, ValueError) else f"{_of(text)}: {cause}"
    if found := re.search(r"^Could not (?:override|delete from config\.) '([\w./@]+)'", text):
        return _no_setting(found[1], words)
    if found := re.search(r"unexpected keyword argument '(\w+)'", text):
        return next((_no_setting(key, words) for key in _keys(words) if key.endswith(f".{found[1]}")), text)
    if found := re.search(r"^(?:Ambiguous value for argument|Sweep parameters) '(.+?)'(?:\n| requires)", text):
        return f"{found[1]}: several values make a sweep: add -m (a list is written KEY=[…])"
    if found := re.search(r"^Key '.+' is not in struct\s+full_key: ([\w.]+)", text):
        return f"{found[1]} is missing: every run needs it"
    if isinstance(error, HydraException) and isinstance(cause, OmegaConfBaseException):
        return f"{text} ({str(cause).splitlines()[0]})"  # Hydra says which override, OmegaConf what is wrong with it
    return re.sub(r"\s+object_type=.*", "", text).replace("full_key:", "in")


def _of(text: str) -> str:
    """The key of the object that Hydra could not create, from the text of Hydra's error."""
    found = re.search(r"full_key: ([\w.]+)", text)
    return found[1] if found else "the configuration"


def _no_choice(wanted: str, options: Sequence[str], text: str) -> str:
    """The message for a group that has no such choice: the nearest name, and all names."""
    group, _, name = wanted.rpartition("/")
    if wanted in EXTRAS:
        return f"{group}={name} needs more than is installed: pip install 'longlag[{EXTRAS[wanted]}]'"
    if not group:
        return text
    near = unknown(name, options).partition("did you mean")[2]
    meant = f" did you mean{near}" if near else ""
    return f"{group}={name}: there is no such choice;{meant} there are {', '.join(options)}"


def _no_setting(key: str, words: Sequence[str]) -> str:
    """The message for a setting that does not exist under the group choices of this command."""
    try:
        return unknown(key, _leaves(composed(words, hydra_too=True)))
    except Exception:  # the group choices may be wrong, too; then no nearest name is given
        return unknown(key, [])


def composed(words: Sequence[str], hydra_too: bool = False) -> DictConfig:
    """Compose the configuration from the group choices of the command, without its other overrides.

    In a sweep over a group, the first choice is taken. `hydra_too`: whether Hydra's own settings are in it.
    """
    choices = [
        word for word in words if word.lstrip("+").partition("=")[0] in (*GROUPS, "hydra/launcher", "hydra/sweeper")
    ]
    own = [f"hydra.searchpath=[file://{Path(folder).absolute()}]" for folder in own_folders(words)]
    GlobalHydra.instance().clear()  # Hydra can be initialised only once at a time
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        chosen = [word.partition(",")[0] for word in choices]
        return hydra.compose("config", [*own, *chosen], return_hydra_config=hydra_too)


def own_folders(words: Sequence[str]) -> list[str]:
    """The folders given with --config-dir."""
    joined = [word.partition("=")[2] for word in words if word.startswith("--config-dir=")]
    return joined + [after for word, after in pairwise(words) if word in ("--config-dir", "-cd")]


def _leaves(node: Any, prefix: str = "") -> list[str]:
    """The dotted names of all settings, and of the nodes that hold them."""
    names = []
    for key in node:
        names.append(f"{prefix}{key}")
        if not OmegaConf.is_missing(node, key) and OmegaConf.is_dict(child := node._get_node(key)):
            names += _leaves(child, f"{prefix}{key}.")
    return names


def _keys(words: Sequence[str]) -> list[str]:
    return [word.partition("=")[0].lstrip("+~") for word in words]


def check_choices(words: Sequence[str]) -> None:
    """Raise ValueError if the choice in a group is not a name: Hydra's own error would not say in which group."""
    for word in words:
        if "=" not in word or word.partition("=")[0].lstrip("+") not in GROUPS:
            continue
        override = OverridesParser.create().parse_override(word)
        value = override.value()
        if not (override.is_sweep_override() or isinstance(value, dict) or (isinstance(value, str) and value)):
            group = override.key_or_group
            names = ", ".join(sorted(path.stem for path in (CONF / group).glob("*.yaml")))
            raise ValueError(f"{group} must be one of {names}, got {said(value)}")


@contextmanager
def errors_in_one_line(words: Sequence[str] | None = None) -> Iterator[None]:
    """End the command with one line: exit code 1 after an error that the user can correct, 130 after Ctrl-C or SIGTERM.

    `words` are the arguments of the command; by default those of this process.
    `HYDRA_FULL_ERROR=1` shows the traceback instead.
    """
    given, parse_error = os.environ.get(FULL_ERROR), ArgumentParser.error
    ArgumentParser.error = _raise  # type: ignore[assignment]  # Hydra makes its own parser
    try:
        with terminated_like_ctrl_c():
            yield
    except KeyboardInterrupt as stop:
        sys.stderr.write(f"longlag: {str(stop) or 'interrupted'}\n")
        sys.exit(130)
    except SystemExit as stop:
        if given == "1" and stop.__cause__:
            raise stop.__cause__ from stop.__cause__.__cause__  # with its own cause
        raise
    except Exception as error:
        if given == "1" or not is_the_users(error):
            raise
        sys.exit(in_one_line(error, sys.argv[1:] if words is None else words))
    finally:
        ArgumentParser.error = parse_error  # type: ignore[method-assign]


@contextmanager
def hydra_raises() -> Iterator[None]:
    """Make Hydra raise errors instead of printing them."""
    given = os.environ.get(FULL_ERROR)
    os.environ[FULL_ERROR] = "1"
    try:
        yield
    finally:
        os.environ.pop(FULL_ERROR)
        if given is not None:
            os.environ[FULL_ERROR] = given


def is_the_users(error: Exception) -> bool:
    """Whether the user can correct the error, so that no traceback is needed."""
    return isinstance(error, USER_ERRORS) or memory.refused(error)


def _raise(_: ArgumentParser, message: str) -> None:
    raise ValueError(f"{message}; --help says what there is")
