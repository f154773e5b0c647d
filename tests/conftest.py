"""What several test files need: composed configurations, and an environment without anybody's account."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: two busy threads on two cores crawl

import io
import logging
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import hydra
import pytest
from omegaconf import DictConfig

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
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
            said.write("" if isinstance(stop.code, int) else f"{stop.code}\n")
    return code, said.getvalue()


@pytest.fixture(autouse=True)
def _nobodys_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No W&B login, no settings and no files of the developer's: every test starts like a fresh machine."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "HYDRA_FULL_ERROR", "LONGLAG_ALLOW"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "wandb-config"))
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))


@pytest.fixture
def run_small(tmp_path: Path) -> Callable[..., tuple[Path, dict]]:
    """Runs the recipe in this process with a small budget; returns the folder and the record."""

    def run_with(*overrides: str, folder: Path = tmp_path / "run", go_on: bool = False) -> tuple[Path, dict]:
        from longlag.resume import RunPlan, begun
        from longlag.run import run

        small = ["lag=6", "max_steps=4", "validation.every=2", "validation.sequences=32", "eval.sequences=16"]
        cfg = compose("logger=none", "model.hidden_size=8", *small, *overrides)
        return folder, run(RunPlan(cfg, folder, "model", "task", None, begun(folder) if go_on else None))

    return run_with
