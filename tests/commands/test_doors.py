"""The command `longlag`: its subcommands, what it lists, and what the shell completes."""

import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from helpers.places import ROOT
from longlag.cli import COMMANDS, main
from longlag.settings import CONF, program


def said(capsys: pytest.CaptureFixture, *words: str) -> str:
    main(words)
    return capsys.readouterr().out


@pytest.mark.parametrize("words", [[], ["help"], ["--help"], ["-h"]])
def test_without_a_command_it_shows_help_and_trains_nothing(words: list[str], tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = said(capsys, *words)
    for name in COMMANDS:
        assert re.search(rf"^  longlag {name} +\w", text, re.MULTILINE), name
    assert list(tmp_path.iterdir()) == []


def test_every_command_has_a_module_and_every_script_a_command():
    modules = {path.stem for path in (ROOT / "src" / "longlag" / "commands").glob("*.py")}
    assert modules >= set(COMMANDS)
    assert {path.stem for path in (ROOT / "scripts").glob("*.py")} <= set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, capsys):
    with suppress(SystemExit):  # of argparse
        main([name, "--help"])
    assert f"longlag {name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["tabel"], "longlag: tabel: there is no such command; did you mean table?"),
        (["xyz"], f"longlag: xyz: there is no such command; there are {', '.join(COMMANDS)}"),
        (["list", "modles"], "longlag: argument WHAT: invalid choice: 'modles'"),
        (["list"], "longlag: the following arguments are required: WHAT"),
        (["lagg=5"], "longlag: lagg: there is no such setting; did you mean lag?"),
        (["train", "lagg=5"], "longlag: lagg: there is no such setting; did you mean lag?"),
        (["table", "nowhere"], "longlag: nowhere holds no run"),
    ],
)
def test_a_wrong_command_is_said_in_one_line(words: list[str], line: str, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert str(stop.value).startswith(line)
    assert "\n" not in str(stop.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("what", "folder"),
    [("models", "model"), ("tasks", "task"), ("experiments", "experiment"), ("published", "experiment/published")],
)
def test_a_list_has_a_line_for_each_with_what_it_is(what: str, folder: str, capsys):
    lines = said(capsys, "list", what).splitlines()
    assert [line.split()[0] for line in lines] == sorted(path.stem for path in (CONF / folder).glob("*.yaml"))
    assert all(len(line.split()) > 4 for line in lines)


@pytest.mark.parametrize(
    ("line", "there", "absent"),
    [
        ("longlag ", ["train", "table", "list", "model="], []),
        ("longlag tr", ["train", "trainer="], []),
        ("longlag train model=ls", ["model=lstm", "model=lstm_scratch"], ["train", "model=gru"]),
        ("longlag model=ls", ["model=lstm"], ["model=gru"]),
        ("longlag train model=lstm task=co", ["task=copy"], ["task=sine"]),
        ("longlag train model.hid", ["model.hidden_size="], []),
        ("longlag horizon model=r", ["model=rnn"], []),
        ("longlag list ", ["models", "tasks"], ["train"]),
        ("longlag table ", [], ["train", "model="]),
        ("python train.py model=ls", ["model=lstm"], ["train"]),
    ],
)
def test_the_shell_completes(line: str, there: list[str], absent: list[str], monkeypatch, capsys):
    monkeypatch.setenv("COMP_LINE", line)
    words = said(capsys, *(["train"] if "train.py" in line else []), "-sc", "query=bash").split()
    assert set(there) <= set(words)
    assert not set(absent) & set(words)


def test_a_module_is_the_command_too():
    done = subprocess.run([sys.executable, "-m", "longlag", "--version"], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"longlag \d+\.\d+\.\d+\n", done.stdout)


@pytest.mark.parametrize(
    ("started", "typed"),
    [
        ("train.py", "python train.py"),
        ("/somewhere/scripts/horizon.py", "python train.py"),
        ("/somewhere/bin/longlag", "longlag train"),
        ("/site-packages/longlag/__main__.py", "python -m longlag train"),
    ],
)
def test_messages_name_the_command_as_the_user_types_it(started: str, typed: str, monkeypatch):
    monkeypatch.setattr(sys, "argv", [started])
    assert program() == typed
