"""What W&B leaves on disk, read back."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.wandb_stub import Sent, Server

WANDB = shutil.which("wandb", path=Path(sys.executable).parent)


def command(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the wandb command beside this Python."""
    if WANDB is None:
        pytest.skip("there is no wandb command beside this Python")
    environment = dict(os.environ) | environment
    return subprocess.run([WANDB, *words], capture_output=True, text=True, check=False, env=environment)


def offline_runs(folder: Path) -> list[Path]:
    """In the order of their start."""
    return sorted(folder.glob("wandb/offline-run-*"))


def inspect(folder: Path) -> list[dict]:
    """The records that an offline run consists of."""
    (run,) = offline_runs(folder)
    done = command("leet", "inspect", "--json", run)
    if done.returncode and "No such command" in done.stderr:
        pytest.skip("this wandb cannot read its files back")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def sent_later(*runs: Path | str) -> dict[str, Sent]:
    """What a server gets, by run id, when `wandb sync` sends these."""
    server = Server()
    try:
        done = command("sync", *runs, **server.environment)
    finally:
        server.die()
    assert done.returncode == 0, done.stderr
    assert server.unknown == []
    return server.runs
