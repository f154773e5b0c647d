"""The only module that makes Python objects from configuration: each place of it may name one kind of class only.

Configuration and records are untrusted. A `_target_` must name a class, never a function. Its name is compared with the
allowed packages before anything is imported, and its arguments are plain values.
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

from longlag.lag_modes import LagMode
from longlag.records.identity import where_it_is
from longlag.tasks.task import Task

USERS_OWN = "LONGLAG_ALLOW"  # environment variable: the user's own packages that are allowed too, separated by commas
TARGET, PARTIAL = "_target_", "_partial_"
LONGEST = 200  # largest number of characters of a target


class Kind(NamedTuple):
    """The kind of object that one place of a configuration may describe.

    Attributes:
        name: the kind in words, for error messages.
        base: the common base class of all classes of this kind.
        packages: the packages that a target may name; the class must also be defined in one of them.
        partial: whether some arguments are added later, such as the parameters of an optimiser.
    """

    name: str
    base: type
    packages: tuple[str, ...]
    partial: bool = False


CORE = Kind("a core", torch.nn.Module, ("longlag.models",))
TASK = Kind("a task", Task, ("longlag.tasks",))
LAG_MODE = Kind("a lag mode", LagMode, ("longlag.lag_modes",))
OPTIMIZER = Kind("an optimiser", torch.optim.Optimizer, ("torch.optim",), partial=True)
TRAINER = Kind("a trainer", pl.Trainer, ("pytorch_lightning.Trainer", "pytorch_lightning.trainer"))
LOGGER = Kind("a logger", Logger, ("longlag.tracking.logger", "pytorch_lightning.loggers"))


def build(node: DictConfig, kind: Kind, **arguments: Any) -> Any:
    """Make the object that `node` describes: the class that `_target_` names, called with the other entries.

    Args:
        node: the configuration; it names a class of this kind, which may be in a package of the user (see USERS_OWN).
        kind: the kind of object that the caller needs.
        arguments: further arguments, of any type. They override entries of `node` with the same name.

    Returns:
        The object; if the kind is partial, a `functools.partial` that makes it.

    Raises:
        ValueError: in one line, if the class is of another kind or does not exist, or an argument does not fit.
    """
    is_one = isinstance(node, DictConfig)
    given: Any = OmegaConf.to_container(node, resolve=True, throw_on_missing=True) if is_one else node
    if not isinstance(given, dict) or TARGET not in given:
        raise ValueError(f"{str(given)[:200]} does not describe {kind.name}: it has no {TARGET}")
    target = given.pop(TARGET)
    target = where_it_is(target) if isinstance(target, str) else target
    if given.pop(PARTIAL, kind.partial) is not kind.partial:
        raise ValueError(f"{TARGET} {target}: {PARTIAL} must be {str(kind.partial).lower()} for {kind.name}")
    _refuse_what_makes_objects(given, target)
    found, given = _class(target, kind), given | arguments
    try:
        signature = inspect.signature(found)  # checked here: a TypeError inside the call is a bug and must show
        (signature.bind_partial if kind.partial else signature.bind)(**given)
    except TypeError as error:
        raise ValueError(f"{target}: {error}") from error
    try:
        return partial(found, **given) if kind.partial else found(**given)
    except ImportError as error:  # some loggers need packages that are not installed
        raise ValueError(f"{target}: {' '.join(str(error).split())}") from error


def _refuse_what_makes_objects(value: Any, target: str) -> None:
    """Raise ValueError at a key such as `_target_` or `_args_` at any depth: arguments must not make objects."""
    for key, child in value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ()):
        if isinstance(key, str) and key.startswith("_") and key.endswith("_"):
            raise ValueError(f"{TARGET} {target}: {key} is not allowed among its arguments")
        _refuse_what_makes_objects(child, target)


def _class(target: Any, kind: Kind) -> type:
    """The class that `target` names. Nothing is imported from outside the allowed packages.

    Raises ValueError if the name is not allowed, cannot be imported, or is not a concrete class of this kind.
    """
    own = [name.strip() for name in os.environ.get(USERS_OWN, "").split(",") if name.strip()]
    packages = (*kind.packages, *own)
    parts = target.split(".") if isinstance(target, str) else []
    if len(parts) < 2 or not all(part.isidentifier() for part in parts) or len(target) > LONGEST:
        raise ValueError(
            f"{TARGET} {str(target)[:LONGEST]!a} is not allowed as {kind.name}: it is not the full name of a class"
        )
    refusal = f"{TARGET} {target} is not allowed as {kind.name}"
    if not _under(target, packages):
        where = " or ".join(kind.packages)
        raise ValueError(f"{refusal}: it must be in {where}; to use a package of your own, set {USERS_OWN}=package")
    if any(part.startswith("_") for part in parts):
        raise ValueError(f"{refusal}: names that begin with _ are private")
    module, _, name = target.rpartition(".")
    try:
        found = getattr(import_module(module), name, None)
    except Exception as error:  # importing a module of the user may raise anything
        raise ValueError(f"{TARGET} {target} cannot be imported: {type(error).__name__}: {error}") from error
    if found is None:
        raise ValueError(f"{TARGET} {target} cannot be imported: there is no {name} in {module}")
    if not (isinstance(found, type) and issubclass(found, kind.base) and not inspect.isabstract(found)):
        raise ValueError(f"{refusal}: it must be a class, not an abstract one, that derives from {kind.base.__name__}")
    if not (_under(found.__module__, packages) and found.__qualname__ == name):  # an alias
        raise ValueError(f"{refusal}: it is only another name for {found.__qualname__} of {found.__module__}")
    return found


def _under(name: str, packages: Iterable[str]) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)
