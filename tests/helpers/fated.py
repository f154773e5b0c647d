"""A core of the user's own that fails in a way one can choose, and sweeps of it."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from helpers.command import TRAIN, train

DDP = ("trainer=ddp", "trainer.accelerator=cpu")


CORE = '''
import os, signal, sys, time
from torch import nn


class Fated(nn.Module):
    """An RNN that meets its fate at the third training step, as long as a file of that name is there."""

    def __init__(self, input_size, hidden_size, fate):
        super().__init__()
        self.hidden_size, self.fate, self.steps = hidden_size, fate, 0
        self.rnn = nn.RNN(input_size, hidden_size, batch_first=True)

    def forward(self, x):
        self.steps += self.training
        if self.steps == 3 and self.training and os.path.exists(self.fate):
            getattr(self, self.fate)()
        return self.rnn(x)[0]

    def raises(self):
        raise RuntimeError("a fault of the core\\nin two lines")

    def diverges(self):
        nn.init.constant_(self.rnn.weight_hh_l0, float("nan"))

    def exits(self):
        os._exit(3)

    def exits0(self):
        os._exit(0)

    def leaves(self):
        sys.exit("enough")

    def killed(self):
        os.kill(os.getpid(), signal.SIGKILL)

    def hangs(self):
        while os.path.exists("hangs"):
            time.sleep(0.1)
'''


YAML = """
# @package _global_
lr: 0.01
model:
  _target_: fatedcell.Fated
  hidden_size: 8
  fate: fine
"""


SMALL = (
    *("task=copy", "lag=6", "max_steps=6", "validation.every=2", "validation.sequences=16", "eval.sequences=16"),
    *("eval.lags=[6]", "runtime.checkpoint_seconds=0", "logger=csv", "trainer=cpu"),
)


SWEEP = ("-m", "--config-dir", "conf", "model=fated", *SMALL, "hydra.sweep.dir=sweep")


PROCESSES = ("hydra/launcher=processes", "hydra.launcher.workers=2")


def place(folder: Path, *fates: str) -> Path:
    """Put the core, its YAML and what brings the fates about into a folder."""
    (folder / "conf" / "model").mkdir(parents=True)
    (folder / "conf" / "model" / "fated.yaml").write_text(YAML)
    (folder / "fatedcell.py").write_text(CORE)
    for fate in fates:
        (folder / fate).touch()
    return folder


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    """`train`, with the core in the folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LONGLAG_ALLOW", "fatedcell")
        patch.syspath_prepend(folder)  # spawned workers inherit it
        patch.delitem(sys.modules, "fatedcell", raising=False)
        return train(folder, *arguments)


def found(folder: Path) -> dict[str, dict]:
    """The records of a sweep by folder."""
    return {path.parent.name: json.loads(path.read_text()) for path in sorted((folder / "sweep").glob("*/record.json"))}


def by_fate(folder: Path) -> dict[str, dict]:
    return {record["config"]["model"]["fate"]: record for record in found(folder).values()}


def statuses(folder: Path) -> dict[str, str]:
    return {fate: record["status"] for fate, record in by_fate(folder).items()}


def begin(folder: Path, *arguments: str) -> subprocess.Popen:
    """A sweep in a process group of its own."""
    path = os.pathsep.join([".", *filter(None, [os.environ.get("PYTHONPATH")])])
    env = os.environ | {"PYTHONPATH": path, "LONGLAG_ALLOW": "fatedcell"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([sys.executable, str(TRAIN), *arguments], cwd=folder, env=env, **pipes, process_group=0)


def end(group: int) -> None:
    """Whatever is left of it."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def wait_for(path: Path, process: subprocess.Popen) -> None:
    while not path.exists():
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.05)


def is_gone(group: int, seconds: float = 10) -> bool:
    """Whether no process of the group is left, or will soon be: Python's resource tracker ends after the others."""
    for _ in range(round(seconds / 0.1)):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False
