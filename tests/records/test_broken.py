"""One bad record costs one warning: everything that reads records goes on with the others, or refuses in one line."""

import copy
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import longlag
from helpers.command import train
from longlag import records, resume
from longlag.report import compact, comparison, page, pivot, summary, table
from longlag.report.groups import find, groups
from longlag.sweeps.tuning_score import tuning_score
from longlag.training.checkpoints import LAST, to_go_on_from

SMALL = (
    *("task=copy", "lag=6", "max_steps=4", "validation.every=2", "validation.sequences=16", "eval.sequences=16"),
    *("eval.lags=[3,6]", "model.hidden_size=8", "logger=csv", "trainer=cpu"),
)
WRONG: list[Any] = [None, "text", "", True, -1, 0, 1.5, 1e308, 10**400, [], {}, [[]], [None], {"_target_": "os.system"}]
WHOLE = ["", "{", "[]", "null", "1", '"text"', "{}", '{"schema": 1}', '{"schema": 2}', '{"schema": 3}', "\x00", "{'a'}"]
DEEP = ["[" * 100_000, '{"a":' * 100_000, '{"schema": 1, "config": ' + '{"a":' * 900 + "1" + "}" * 901]
BYTES = [b"\xff\xfe", b"\x00" * 64, b'{"schema": 2, "lag": NaN}', b'{"schema": 2, "lag": ' + b"9" * 5000 + b"}"]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one finished run."""
    folder = tmp_path_factory.mktemp("good")
    code, said = train(folder, *SMALL, "hydra.run.dir=run")
    assert code == 0, said
    return folder


def paths(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands in a record; of a list, its first entry."""
    if path:
        yield path
    children = node.items() if isinstance(node, dict) else enumerate(node[:1]) if isinstance(node, list) else ()
    for key, child in children:
        yield from paths(child, (*path, key))


def changed(record: dict, path: tuple[Any, ...], value: Any) -> dict:
    other = copy.deepcopy(record)
    node = other
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return other


def removed(record: dict, path: tuple[Any, ...]) -> dict:
    other = copy.deepcopy(record)
    node = other
    for key in path[:-1]:
        node = node[key]
    del node[path[-1]]
    return other


def crafted(record: dict) -> Iterator[str]:
    """Everything that is wrong in one place: about 1,500 records."""
    yield from WHOLE
    yield from DEEP
    for path in paths(record):
        yield json.dumps(removed(record, path))
        for value in WRONG:
            yield json.dumps(changed(record, path, value))


def read_by_all(runs: list[records.Record]) -> None:
    """What tables, the report, the copies and the summary make of records."""
    rows = table.rows(runs)
    Console(file=io.StringIO()).print(table.terminal(rows))
    table.markdown(rows), table.comma_separated(rows), table.points(runs), table.matrix(runs)
    page.page(runs, "t")
    for run in runs:
        summary.table(run)
        compact.small(run)
        tuning_score(run)
    pivot.pivot(runs, ["model"], ["seed"])


def test_every_wrong_record_is_left_out_or_harmless(good: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    whole = json.loads((good / "run" / records.FILE).read_text())
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / records.FILE).write_text(json.dumps(whole))
    (tmp_path / "bad").mkdir()
    bad = tmp_path / "bad" / records.FILE
    cases = list(crafted(whole))
    assert len(cases) > 1000
    left_out = 0
    for number, text in enumerate(cases):
        caplog.clear()
        bad.write_text(text)
        with caplog.at_level(logging.WARNING, "longlag"):
            runs = find([tmp_path])
        warned = [entry.getMessage() for entry in caplog.records]
        left_out += any(words.startswith("left out: ") for words in warned)
        assert all("\n" not in words for words in warned)
        assert any(run["folder"].endswith("good") or len(runs) == 1 for run in runs)
        if number % 20 == 0 or len(runs) > 1:
            try:
                read_by_all(runs)
            except Exception as error:
                raise AssertionError(f"{number}: {text[-300:]}") from error
    assert left_out > 500


@pytest.mark.parametrize("content", [*WHOLE, *DEEP, *BYTES])
def test_one_that_is_no_record_at_all(content: str | bytes, good: Path, tmp_path: Path):
    path = tmp_path / records.FILE
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match="is not a record: ") as refused:
        records.read(tmp_path)
    assert "\n" not in str(refused.value)
    with pytest.raises(ValueError, match="is not a record: "):
        longlag.load(tmp_path)
    assert resume.begun(tmp_path) is None


def test_a_folder_in_its_place(tmp_path: Path):
    (tmp_path / records.FILE).mkdir()
    with pytest.raises(ValueError, match=r"record\.json is not a record: it is not a file"):
        records.read(tmp_path)
    with pytest.raises(FileNotFoundError, match="holds no run"):
        find([tmp_path])


def test_pictures_of_what_is_odd_but_right(good: Path, tmp_path: Path):
    """Numbers at the ends of their range."""
    whole = records.read(good / "run")
    odd = copy.deepcopy(whole)
    odd["lag_curve"] = [point | {"loss": None, "accuracy": 0.0} for point in odd["lag_curve"]]
    odd["gradient"] = [point | {"log10_norm": None, "log10_state_norm": None} for point in odd["gradient"]]
    odd["learning_curve"], odd["seed"] = [], 2**62
    odd["config"]["seed"] = 2**62
    read_by_all([whole, odd])
    assert comparison.gap(groups([whole, odd]))


@pytest.mark.parametrize("content", [{}, [1], "text", {"state_dict": {}, "global_step": 3}, {"epoch": 0}])
def test_a_checkpoint_that_is_none(content: Any, good: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    import torch

    torch.save(content, tmp_path / LAST)
    assert to_go_on_from(tmp_path) is None
    assert "last.ckpt cannot be read (it is not a checkpoint of a run)" in caplog.text


def test_a_run_with_such_a_checkpoint_begins_anew(good: Path, tmp_path: Path):
    import shutil

    import torch

    shutil.copytree(good / "run", tmp_path / "run")
    record = records.read(tmp_path / "run")
    record["status"] = "interrupted"
    records.write(record, tmp_path / "run")
    torch.save({"epoch": 0}, tmp_path / "run" / LAST)
    code, said = train(tmp_path, "resume=run")
    assert code == 0, said
    assert "cannot be read" in said
    assert records.read(tmp_path / "run")["status"] == "finished"
