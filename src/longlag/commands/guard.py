"""Checks Hydra's own settings before Hydra acts on them, so that they cannot run code. Needs no torch.

From its own settings, Hydra creates callbacks and loggers, sets environment variables, and imports packages to look for
files. A YAML file from somebody else may hold such settings, so none of them are accepted from a configuration here.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import hydra._internal.hydra as hydra_itself
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from longlag.files import missing

LOADER = "ConfigLoaderImpl"  # the name that Hydra's main module has for its configuration loader
STREAMS = ("ext://sys.stdout", "ext://sys.stderr")
HANDLERS = ("logging.StreamHandler", "logging.NullHandler", "logging.FileHandler")
FORMATTER = "longlag.files.PlainFormatter"  # our own, which is safe
LOG_FILE = "${hydra.runtime.output_dir}/${hydra.job.name}.log"  # the default in Hydra's own settings
# the modules of launchers and sweepers
PLUGINS = ("hydra_plugins.", "hydra._internal.core_plugins.")
SAMPLER = re.compile(r"optuna\.samplers\.[A-Z]\w*")


class Checked(ConfigLoaderImpl):
    """Hydra's configuration loader, which only returns configurations that pass `check`.

    Attributes:
        new_folders: the folder of the run or the sweep and its parents, as far as Hydra has to make them.
    """

    new_folders: ClassVar[list[Path]] = []
    _of_sweep = False

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        """Compose as Hydra does. Raises ValueError if the configuration would make Hydra create what it must not."""
        if any("hydra.searchpath" in word and "pkg:" in word for word in overrides):
            raise ValueError("hydra.searchpath: it may name folders (file://…), but no packages")
        cfg = super().load_configuration(config_name, overrides, run_mode, from_shell, validate_sweep_overrides)
        check(cfg.hydra)
        if not self._of_sweep:
            Checked.new_folders = _new_folders(cfg, cfg.hydra.run if run_mode == RunMode.RUN else cfg.hydra.sweep)
        return cfg

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """Compose one run of a sweep as Hydra does. `new_folders` stays that of the sweep."""
        self._of_sweep = True
        try:
            return super().load_sweep_config(master_config, sweep_overrides)
        finally:
            self._of_sweep = False


def _new_folders(cfg: DictConfig, place: DictConfig) -> list[Path]:
    """The folders that Hydra will make; empty if their name cannot be resolved, which the run itself will report."""
    HydraConfig.instance().set_config(cfg)  # ${hydra:…} in the name resolves from it
    try:
        return missing(Path(place.dir))
    except OmegaConfBaseException:
        return []


@contextmanager
def guarding() -> Iterator[None]:
    """Make Hydra use `Checked`: for a single run, for a sweep, and for each run of a sweep."""
    before = hydra_itself.ConfigLoaderImpl
    setattr(hydra_itself, LOADER, Checked)
    try:
        yield
    finally:
        setattr(hydra_itself, LOADER, before)


def check(hydra: DictConfig) -> None:
    """Raise ValueError, with a message of one line, if Hydra's settings would create objects or set the environment."""
    if hydra.callbacks:
        raise ValueError("hydra.callbacks: callbacks are not allowed, because they run code; remove them")
    environment: Any = OmegaConf.to_container(hydra.job.env_set, resolve=False)
    for name, value in environment.items():
        if os.environ.get(name) != value:  # equal where `env_copy` names it: Hydra copied the value
            raise ValueError(f"hydra.job.env_set.{name}: set environment variables in the shell")
    if "/" in str(hydra.job.name):
        raise ValueError("hydra.job.name: it names a file, so it must not contain a /")
    for name in ("launcher", "sweeper"):
        _check_plugin(OmegaConf.to_container(hydra[name], resolve=True), f"hydra.{name}")
    for name in ("job_logging", "hydra_logging"):
        _check_logging(OmegaConf.to_container(hydra[name], resolve=False), f"hydra.{name}")


def _check_plugin(settings: Any, name: str) -> None:
    """Raise ValueError if it is not an installed plugin, or if Hydra would create objects from its settings."""
    if not str((settings or {}).get("_target_")).startswith(PLUGINS):
        raise ValueError(f"{name}._target_: it must name an installed plugin of Hydra")
    for key, value in _every(settings):
        # Optuna's own samplers are allowed
        if key == ("sampler", "_target_") and SAMPLER.fullmatch(str(value)):
            continue
        # Optuna's sweeper would call the function that custom_search_space names
        makes = key[-1] == "custom_search_space" and value is not None
        if makes or (str(key[-1]).startswith("_") and key != ("_target_",)):
            raise ValueError(
                f"{name}.{'.'.join(map(str, key))}: remove this key; Hydra's settings must not create objects"
            )


def _check_logging(settings: Any, name: str) -> None:
    """Raise ValueError if logging settings would run code.

    Python's logging creates the classes that its settings name, calls what is given under (), and imports ext://…
    """
    for key, value in _every(settings):
        where = f"{name}.{'.'.join(map(str, key))}"
        if value == FORMATTER and key[-1] == "()":
            continue
        if not {"()", "."}.isdisjoint(map(str, key)) or (key[-1] == "class" and value not in HANDLERS):
            raise ValueError(f"{where}: the only log handlers allowed are {' and '.join(HANDLERS)}")
        if key[-1] == "filename" and value != LOG_FILE:
            raise ValueError(f"{where}: the file of a log must be {LOG_FILE}")
        if isinstance(value, str) and ("://" in value or "${" in value) and value not in (*STREAMS, LOG_FILE):
            raise ValueError(f"{where}: only {' and '.join(STREAMS)} are allowed")


def _every(settings: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """The path and the value of every setting, at any depth."""
    if isinstance(settings, dict | list):
        for key, value in settings.items() if isinstance(settings, dict) else enumerate(settings):
            yield from _every(value, (*above, key))
    elif above:
        yield above, settings
