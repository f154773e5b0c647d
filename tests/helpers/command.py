"""The command `longlag train …` in tests: the configuration it composes, a run in this process, one in its own."""

import io
import logging
import re
import shlex
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import hydra
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from helpers.places import ROOT
from longlag.cli import main
from longlag.settings import CONF

MODELS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))


TASKS = sorted(path.stem for path in (CONF / "task").glob("*.yaml"))


def compose(*overrides: str) -> DictConfig:
    """The configuration that the command line would compose."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose("config", list(overrides))


def train(folder: Path, *arguments: str) -> tuple[int, str]:
    """`python train.py …` in a folder, in this process: its exit code and all it says."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), redirect_stderr(said):
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["train.py", *arguments])
        patch.setattr(logging.root, "handlers", [])  # Hydra sets logging up for a process of its own
        try:
            main(["train", *sys.argv[1:]])
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
            said.write("" if isinstance(stop.code, int) else f"{stop.code}\n")
    return code, said.getvalue()


TRAIN = ROOT / "train.py"


ENDLESS = ["lag=20", "max_steps=1000000", "task.solved_at=null", "validation.every=50", "logger=csv", "trainer=cpu"]


def start(folder: Path, *arguments: str) -> subprocess.Popen:
    """A process that heeds Ctrl-C: a shell makes those it starts in the background ignore it, and it is inherited."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return subprocess.Popen([sys.executable, str(TRAIN), *arguments], cwd=folder, **pipes)


def overrides_of(command: str, folder: Path) -> list[str]:
    """Those of `longlag train …`, a sweep's by the first value of each; `--config-dir` is looked for in `folder`."""
    words = iter(shlex.split(re.split(r"train\.py|longlag(?: train)?", command, maxsplit=1)[1], comments=True))
    overrides = []
    for word in words:
        if word == "--config-dir":
            overrides.append(f"hydra.searchpath=[file://{folder / next(words)}]")
        elif not word.startswith("-"):
            overrides.append(_first(word))
    return overrides


def _first(word: str) -> str:
    override = OverridesParser.create().parse_override(word)
    if not override.is_sweep_override():
        return word
    return f"{override.get_key_element()}={next(override.sweep_string_iterator())}"
