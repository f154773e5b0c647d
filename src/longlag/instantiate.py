"""The one door from configuration to Python objects: each place makes objects of its own kind and no others.

Configuration and records are untrusted. A target names a class, never a function; its name is compared with the
packages of its kind before anything is imported; its arguments are plain values.
"""

import inspect
import os
from collections.abc import Iterable
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.loggers import Logger

from longlag.lag_modes import Fixed
from longlag.records.identity import where_it_is
from longlag.tasks.task import Task

USERS_OWN = "LONGLAG_ALLOW"  # environment variable: comma-separated packages of the user's own
TARGET, PARTIAL = "_target_", "_partial_"
LONGEST = 200  # characters of a target


class Kind(NamedTuple):
    """What one place of a configuration may describe.

    Attributes:
        name: in words.
        base: the class that every class of this kind is a subclass of.
        packages: where such a class may be named, and where it must have been defined.
        partial: whether more arguments come later, as an optimiser's parameters do.
    """

    name: str
    base: type
    packages: tuple[str, ...]
    partial: bool = False


CORE = Kind("a core", torch.nn.Module, ("longlag.models",))
TASK = Kind("a task", Task, ("longlag.tasks",))
LAG_MODE = Kind("a lag mode", Fixed, ("longlag.lag_modes",))
OPTIMIZER = Kind("an optimiser", torch.optim.Optimizer, ("torch.optim",), partial=True)
TRAINER = Kind("a trainer", pl.Trainer, ("pytorch_lightning.Trainer", "pytorch_lightning.trainer"))
LOGGER = Kind("a logger", Logger, ("longlag.tracking.logger", "pytorch_lightning.loggers"))


def build(node: DictConfig, kind: Kind, **arguments: Any) -> Any:
    """Make the object that `node` describes: the class that `_target_` names, called with the other entries.

    Args:
        node: names a class of this kind, or of a package of the user's own (see USERS_OWN).
        kind: what the caller needs.
        arguments: more of them, which go before those of `node`. They are handed over as they are.

    Returns:
        The object; of a kind that is partial, a `functools.partial` that makes it.

    Raises:
        ValueError: in one line, where the class is of another kind or does not exist, or an argument does not fit.
    """
    is_one = isinstance(node, DictConfig)
    given: Any = OmegaConf.to_container(node, resolve=True, throw_on_missing=True) if is_one else node
    if not isinstance(given, dict) or TARGET not in given:
        raise ValueError(f"{str(given)[:200]} is no configuration of {kind.name}: it names no {TARGET}")
    target = given.pop(TARGET)
    target = where_it_is(target) if isinstance(target, str) else target
    if given.pop(PARTIAL, kind.partial) is not kind.partial:
        raise ValueError(f"{TARGET} {target}: {PARTIAL} must be {str(kind.partial).lower()} for {kind.name}")
    _refuse_what_makes_objects(given, target)
    found, given = _class(target, kind), given | arguments
    try:
        signature = inspect.signature(found)  # checked before the call, where a TypeError would be a bug
        (signature.bind_partial if kind.partial else signature.bind)(**given)
    except TypeError as error:
        raise ValueError(f"{target}: {error}") from error
    try:
        return partial(found, **given) if kind.partial else found(**given)
    except ImportError as error:  # some loggers need packages that are not installed
        raise ValueError(f"{target}: {' '.join(str(error).split())}") from error


def _refuse_what_makes_objects(value: Any, target: str) -> None:
    """Raise ValueError at a key such as `_target_` or `_args_`, however deep: nothing is made inside an argument."""
    for key, child in value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ()):
        if isinstance(key, str) and key.startswith("_") and key.endswith("_"):
            raise ValueError(f"{TARGET} {target}: {key} is not allowed among its arguments")
        _refuse_what_makes_objects(child, target)


def _class(target: Any, kind: Kind) -> type:
    """The class that `target` names. Nothing is imported whose name is not below the packages of the kind."""
    own = [name.strip() for name in os.environ.get(USERS_OWN, "").split(",") if name.strip()]
    packages = (*kind.packages, *own)
    parts = target.split(".") if isinstance(target, str) else []
    if len(parts) < 2 or not all(part.isidentifier() for part in parts) or len(target) > LONGEST:
        raise ValueError(f"{TARGET} {str(target)[:LONGEST]!a} is not allowed as {kind.name}: it names no class")
    refusal = f"{TARGET} {target} is not allowed as {kind.name}"
    if not _under(target, packages):
        where = " and ".join(kind.packages)
        raise ValueError(f"{refusal}: those are in {where}; to use a package of your own, set {USERS_OWN}=package")
    if any(part.startswith("_") for part in parts):
        raise ValueError(f"{refusal}: it is private")
    module, _, name = target.rpartition(".")
    try:
        found = getattr(import_module(module), name, None)
    except Exception as error:  # a module of the user's may raise anything
        raise ValueError(f"{TARGET} {target} cannot be imported: {type(error).__name__}: {error}") from error
    if found is None:
        raise ValueError(f"{TARGET} {target} cannot be imported: there is no {name} in {module}")
    if not (isinstance(found, type) and issubclass(found, kind.base) and not inspect.isabstract(found)):
        raise ValueError(f"{refusal}: it must be a class, not an abstract one, that derives from {kind.base.__name__}")
    if not (_under(found.__module__, packages) and found.__qualname__ == name):
        raise ValueError(f"{refusal}: it is {found.__qualname__} of {found.__module__}")
    return found


def _under(name: str, packages: Iterable[str]) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)
