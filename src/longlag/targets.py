"""The one door from configuration to Python objects: only targets on the allow-list are made."""

import inspect
import os
from collections.abc import Iterable, Iterator
from typing import Any

import hydra
from hydra.errors import HydraException, InstantiationException
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

ALLOWED = {  # what may be named: where it must have been defined
    "longlag": "longlag",
    "torch.optim": "torch.optim",
    "pytorch_lightning.Trainer": "pytorch_lightning.trainer",
    "pytorch_lightning.callbacks": "pytorch_lightning.callbacks",
    "pytorch_lightning.loggers": "pytorch_lightning.loggers",
}
USERS_OWN = "LONGLAG_ALLOW"  # environment variable: comma-separated packages of the user's own


def build(node: DictConfig, **arguments: Any) -> Any:
    """Make the object that `node` describes (`_target_` and its arguments, as Hydra's `instantiate` does).

    `arguments` are handed over as they are: a configuration among them is not made into objects. A node with
    `_partial_` takes none; what it gives back does.

    Raises ValueError, in one line, where a target is not allowed or does not exist, or an argument does not fit.
    """
    if not isinstance(node, DictConfig):
        raise ValueError(f"{node} is no configuration: it names no _target_")
    found = {target: _allowed(target) for target in _targets(OmegaConf.to_container(node, resolve=True))}
    target = node.get("_target_")
    if target is None:
        raise ValueError(f"a configuration that names no _target_: {node}")
    try:
        make = hydra.utils.instantiate(node, _convert_="all", _partial_=True)
        signature = inspect.signature(found[target])  # before the call, where a TypeError would be a bug
        bind = signature.bind_partial if node.get("_partial_") else signature.bind
        bind(*make.args, **make.keywords | arguments)
    except (InstantiationException, TypeError) as error:
        raise ValueError(f"{target}: {' '.join(str(error).split())}") from error
    return make if node.get("_partial_") else make(**arguments)


def _targets(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "_target_" in node:
            yield str(node["_target_"])
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from _targets(child)


def _allowed(target: str) -> Any:
    """What `target` names, allowed by name and by where it was defined: `longlag.trainer.os.system` is not ours."""
    own = [name.strip() for name in os.environ.get(USERS_OWN, "").split(",") if name.strip()]
    if not _under(target, [*ALLOWED, *own]):
        raise ValueError(f"_target_ {target} is not allowed; to use a package of your own, set {USERS_OWN}=package")
    try:
        found = get_object(target)
    except (HydraException, ImportError, ValueError) as error:
        raise ValueError(f"_target_ {target} cannot be imported: {str(error).splitlines()[-1]}") from error
    home = str(getattr(found, "__module__", "no module"))
    if not _under(home, [*ALLOWED.values(), *own]):
        raise ValueError(f"_target_ {target} is not allowed: it is defined in {home}")
    return found


def _under(name: str, roots: Iterable[str]) -> bool:
    return any(name == root or name.startswith(root + ".") for root in roots)
