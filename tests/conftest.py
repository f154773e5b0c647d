"""What several test files need: composed configurations, and an environment without anybody's account."""

import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: two busy threads on two cores crawl

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from helpers.command import compose


@pytest.fixture(autouse=True)
def _nobodys_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No W&B login, no settings and no files of the developer's: every test starts like a fresh machine."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "HYDRA_FULL_ERROR", "LONGLAG_ALLOW"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "wandb-config"))
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))


@pytest.fixture(autouse=True)
def _imports_nobodys_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Modules that a test wrote are forgotten at its end: the next one may write another of that name."""
    yield
    place = str(tmp_path_factory.getbasetemp())
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(place):
            del sys.modules[name]


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
