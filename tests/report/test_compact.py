"""Copies for a repository: none is lost, none replaces another run, and they lie apart from their originals."""

import os
from pathlib import Path

import pytest

from helpers.made_up import run
from longlag import records
from longlag.report.compact import keep_all
from longlag.report.groups import find, groups


def stored(folder: Path, **settings: object) -> None:
    record = run(**settings)
    folder.mkdir(parents=True)
    records.write(record, folder)


def test_two_runs_in_folders_of_one_name_become_two(tmp_path: Path):
    """Once the second replaced the first."""
    for seed, sweep in enumerate(("a", "b")):
        stored(tmp_path / "runs" / sweep / "0_lstm", seed=seed)
    assert keep_all(tmp_path / "runs", tmp_path / "kept") == 2
    (group,) = groups(find([tmp_path / "kept"]))
    assert [one["seed"] for one in group.runs] == [0, 1]
    assert keep_all(tmp_path / "runs", tmp_path / "kept") == 2  # again: they are the same runs


@pytest.mark.parametrize("target", ["runs", "runs/", "./runs", "runs/kept", ".", "link"])
def test_a_folder_in_the_other_is_refused(tmp_path: Path, target: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    stored(tmp_path / "runs" / "one")
    os.symlink("runs", "link")
    before = (tmp_path / "runs" / "one" / records.FILE).read_bytes()
    with pytest.raises(ValueError, match="one of these folders lies in the other; choose a separate folder"):
        keep_all(Path("runs"), Path(target))
    assert (tmp_path / "runs" / "one" / records.FILE).read_bytes() == before


def test_a_record_of_another_run_is_not_replaced_and_nothing_is_half_done(tmp_path: Path):
    stored(tmp_path / "runs" / "a", seed=1)
    stored(tmp_path / "runs" / "b", seed=2)
    stored(tmp_path / "kept" / "b", seed=3)
    with pytest.raises(FileExistsError, match="holds another run already"):
        keep_all(tmp_path / "runs", tmp_path / "kept")
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["b"]
    assert records.read(tmp_path / "kept" / "b")["seed"] == 3


def test_a_broken_record_costs_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    stored(tmp_path / "runs" / "a")
    (tmp_path / "runs" / "b").mkdir()
    (tmp_path / "runs" / "b" / records.FILE).write_text("{")
    assert keep_all(tmp_path / "runs", tmp_path / "kept") == 1
    assert "left out: " in caplog.text


def test_a_single_run(tmp_path: Path):
    stored(tmp_path / "runs" / "a")
    assert keep_all(tmp_path / "runs" / "a", tmp_path / "kept") == 1
    assert (tmp_path / "kept" / records.FILE).exists()
