"""A run that nobody asked to send anything looks up no name: neither Python nor W&B's own process does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.wandb_stub import API_KEY

SMALL = (
    *("lag=6", "max_steps=4", "validation.every=2", "validation.sequences=16", "eval.sequences=16", "trainer=cpu"),
    *("model.hidden_size=8", "hydra.run.dir=run", "logger.wandb.timeout=2"),
)
WATCHED = """
import sys

def watch(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        sys.stderr.write(f"LOOKED UP {arguments[0]}\\n")

sys.addaudithook(watch)
from longlag.cli import main
main()
"""
BY_GO = "hostLookupOrder("  # what the resolver of wandb-core, a Go program, says of each name with GODEBUG=netdns=2


def looked_up(folder: Path, *overrides: str, **environment: str) -> list[str]:
    """What a run in a process of its own looks up, a line each."""
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, *SMALL, *overrides], cwd=folder, check=True, capture_output=True, text=True,
        env=os.environ | {"GODEBUG": "netdns=2"} | environment,
    )  # fmt: skip
    assert (folder / "run" / "record.json").exists()
    assert list(folder.glob("wandb/offline-run-*/run-*.wandb"))
    return [line for line in done.stderr.splitlines() if "LOOKED UP" in line or BY_GO in line]


@pytest.mark.parametrize("mode", ["auto", "offline"])
def test_without_a_login_no_name_is_looked_up(tmp_path: Path, mode: str):
    assert looked_up(tmp_path, f"logger.wandb.mode={mode}") == []


def test_with_a_login_one_is(tmp_path: Path):
    server = {"WANDB_API_KEY": API_KEY, "WANDB_BASE_URL": "http://wandb.invalid"}
    assert any("wandb.invalid" in line and BY_GO in line for line in looked_up(tmp_path, **server))


def test_what_the_user_says_of_reports_goes_first(tmp_path: Path):
    said = looked_up(tmp_path, WANDB_ERROR_REPORTING="true", WANDB_BASE_URL="http://wandb.invalid")
    assert "LOOKED UP wandb.invalid" in said
