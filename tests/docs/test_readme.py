"""The README's commands: every `python train.py …` in a code block composes, and its settings are accepted."""

import re
from pathlib import Path

import pytest

from helpers.command import compose, overrides_of
from helpers.places import ROOT
from longlag.settings import check

README = (ROOT / "README.md").read_text(encoding="utf-8")
FENCED = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"^ {4}(.*)$", re.MULTILINE)
NAMED_FILE = re.compile(r"`([\w./-]+\.(?:py|yaml))`[^`]*^```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = "\n".join([*FENCED.findall(README), *INDENTED.findall(FENCED.sub("", README))]).replace("\\\n", " ")
COMMANDS = [line.strip() for line in BLOCKS.splitlines() if "python train.py" in line]


def test_there_are_commands():
    assert len(COMMANDS) >= 3


@pytest.mark.parametrize("command", COMMANDS)
def test_command_composes(command: str, tmp_path: Path):
    for name, text in NAMED_FILE.findall(README):  # the files it tells the reader to write
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    check(compose(*overrides_of(command, tmp_path)))


def test_a_wrong_command_would_be_noticed(tmp_path: Path):
    with pytest.raises(Exception, match="lstn"):
        compose(*overrides_of("X=1 python train.py -m model=lstn,gru lag=10  # a comment", tmp_path))
    assert overrides_of("python train.py -m lag=10,30 'seed=range(2,5)'", tmp_path) == ["lag=10", "seed=2"]
