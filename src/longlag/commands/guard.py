"""What Hydra itself would make of a configuration, checked before it does. Needs no torch.

Hydra makes callbacks, loggers and environment variables of its own settings, and imports packages to look for files.
A YAML file of somebody else's may hold such settings, so none of that comes from a configuration here.
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

LOADER = "ConfigLoaderImpl"  # where Hydra finds the class of what it composes with
STREAMS = ("ext://sys.stdout", "ext://sys.stderr")
HANDLERS = ("logging.StreamHandler", "logging.NullHandler", "logging.FileHandler")
FORMATTER = "longlag.files.PlainFormatter"  # ours
LOG_FILE = "${hydra.runtime.output_dir}/${hydra.job.name}.log"  # as Hydra's own settings have it
PLUGINS = ("hydra_plugins.", "hydra._internal.core_plugins.")
SAMPLER = re.compile(r"optuna\.samplers\.[A-Z]\w*")


class Checked(ConfigLoaderImpl):
    """Hydra's loader; what it composes has passed `check`.

    Attributes:
        new_folders: that of a run or a sweep, and those above it, as far as they were not there: Hydra makes them.
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
        """As Hydra's. Raises ValueError where the configuration would have Hydra make what it must not."""
        if any("hydra.searchpath" in word and "pkg:" in word for word in overrides):
            raise ValueError("hydra.searchpath: configuration is looked for in folders (file://…), not in packages")
        cfg = super().load_configuration(config_name, overrides, run_mode, from_shell, validate_sweep_overrides)
        check(cfg.hydra)
        if not self._of_sweep:
            Checked.new_folders = _new_folders(cfg, cfg.hydra.run if run_mode == RunMode.RUN else cfg.hydra.sweep)
        return cfg

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """As Hydra's: the configuration of one run of a sweep, whose folder the sweep makes."""
        self._of_sweep = True
        try:
            return super().load_sweep_config(master_config, sweep_overrides)
        finally:
            self._of_sweep = False


def _new_folders(cfg: DictConfig, place: DictConfig) -> list[Path]:
    """Folders that Hydra will make; none where their name cannot be made up, and the run itself will say why."""
    HydraConfig.instance().set_config(cfg)  # the name is made of it
    try:
        return missing(Path(place.dir))
    except OmegaConfBaseException:
        return []


@contextmanager
def guarding() -> Iterator[None]:
    """Hydra composes nothing that has not passed `check`: of a run, of a sweep, of each of its runs."""
    before = hydra_itself.ConfigLoaderImpl
    setattr(hydra_itself, LOADER, Checked)
    try:
        yield
    finally:
        setattr(hydra_itself, LOADER, before)


def check(hydra: DictConfig) -> None:
    """Raise ValueError, in one line, where Hydra's settings would make objects or set the environment."""
    if hydra.callbacks:
        raise ValueError("hydra.callbacks: a configuration may not have any: they run code")
    environment: Any = OmegaConf.to_container(hydra.job.env_set, resolve=False)
    for name, value in environment.items():
        if os.environ.get(name) != value:  # Hydra puts there what env_copy names
            raise ValueError(f"hydra.job.env_set.{name}: set environment variables in the shell")
    if "/" in str(hydra.job.name):
        raise ValueError("hydra.job.name: it names a file, so it must not have a /")
    for name in ("launcher", "sweeper"):
        _check_plugin(OmegaConf.to_container(hydra[name], resolve=True), f"hydra.{name}")
    for name in ("job_logging", "hydra_logging"):
        _check_logging(OmegaConf.to_container(hydra[name], resolve=False), f"hydra.{name}")


def _check_plugin(settings: Any, name: str) -> None:
    """Hydra looks for the class of the plugin among those installed; it would make what stands inside, too."""
    if not str((settings or {}).get("_target_")).startswith(PLUGINS):
        raise ValueError(f"{name}._target_: it must be an installed plugin of Hydra's")
    for key, value in _every(settings):
        if key == ("sampler", "_target_") and SAMPLER.fullmatch(str(value)):
            continue
        makes = key[-1] == "custom_search_space" and value is not None
        if makes or (str(key[-1]).startswith("_") and key != ("_target_",)):
            raise ValueError(f"{name}.{'.'.join(map(str, key))}: nothing is made of Hydra's settings")


def _check_logging(settings: Any, name: str) -> None:
    """Python's logging makes the classes that its settings name, calls what stands under (), and imports ext://…"""
    for key, value in _every(settings):
        where = f"{name}.{'.'.join(map(str, key))}"
        if value == FORMATTER and key[-1] == "()":
            continue
        if not {"()", "."}.isdisjoint(map(str, key)) or (key[-1] == "class" and value not in HANDLERS):
            raise ValueError(f"{where}: log to {' or '.join(HANDLERS)}")
        if key[-1] == "filename" and value != LOG_FILE:
            raise ValueError(f"{where}: the file of a log must be {LOG_FILE}")
        if isinstance(value, str) and ("://" in value or "${" in value) and value not in (*STREAMS, LOG_FILE):
            raise ValueError(f"{where}: only {' and '.join(STREAMS)} are allowed")


def _every(settings: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """The path and the value of every setting, however deep."""
    if isinstance(settings, dict | list):
        for key, value in settings.items() if isinstance(settings, dict) else enumerate(settings):
            yield from _every(value, (*above, key))
    elif above:
        yield above, settings
