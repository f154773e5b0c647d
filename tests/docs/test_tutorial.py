"""The tutorial: its files, written down as they stand, work with its commands."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.places import ROOT

TEXT = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
FILES = re.findall(r"`(mylab/[\w./]+)`[^`]*?\n```\w+\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
COMMANDS = re.findall(r"^    (LONGLAG_ALLOW=.*)$", TEXT, re.MULTILINE)
CHECK = re.findall(r"^```python\n(import numpy as np\nfrom mylab.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
SMALL = ["max_steps=4", "validation.every=2", "validation.sequences=16", "eval.sequences=16", "trainer=cpu"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tutorial")
    for name, text in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def call(folder: Path, words: list[str], **variables: str) -> None:
    environment = os.environ | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"} | variables
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_everything_was_found():
    names = [name for name, _ in FILES]
    assert names == ["mylab/mgu.py", "mylab/conf/model/mgu.yaml", "mylab/differ.py", "mylab/conf/task/differ.yaml"]
    assert (len(COMMANDS), len(CHECK)) == (3, 1)


@pytest.mark.parametrize("number", [0, pytest.param(1, marks=pytest.mark.slow), 2])
def test_command(folder: Path, number: int):
    allow, _, program, *words = shlex.split(COMMANDS[number])
    assert (program, words[0]) == ("longlag", "train")
    where = ["hydra.sweep.dir=sweep"] if "-m" in words else [f"hydra.run.dir=run{number}"]
    command = [sys.executable, "-m", program, *words, *SMALL, *where]
    call(folder, command, LONGLAG_ALLOW=allow.partition("=")[2])
    found = [json.loads(path.read_text()) for path in folder.glob(f"{where[0].partition('=')[2]}/**/record.json")]
    assert len(found) == (36 if number == 1 else 1)
    assert {record["status"] for record in found} == {"finished"}
    assert found[0]["gradient_scalars"][0]["state_log10_over_lag"] is not None


def test_check(folder: Path):
    call(folder, [sys.executable, "-c", CHECK[0]])
