"""record.json: it says truly how a run ended, it is never half written, and it is read back only if it is one."""

import errno
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from helpers.command import compose, train
from longlag import records
from longlag.files import replacing
from longlag.settings import plain
from longlag.sweeps.tuning_score import tuning_score
from longlag.training.learner import Diverged


@pytest.fixture(scope="module")
def config() -> dict:
    return plain(compose())


@pytest.fixture
def record(config: dict) -> records.Record:
    return records.new(config, "lstm", "copy")


def stop_with(error: BaseException, record: records.Record, folder: Path) -> None:
    with records.recording(record, folder):
        raise error


def test_finished(record: records.Record, tmp_path: Path):
    with records.recording(record, tmp_path):
        record["cost"] = {"parameters": 9, "seconds": 1.5}
    assert records.read(tmp_path) == record
    assert (record["status"], record["error"]) == ("finished", None)


@pytest.mark.parametrize(
    ("error", "raised", "status"),
    [
        (RuntimeError("no memory"), RuntimeError, "failed"),
        (Diverged("the loss is nan"), Diverged, "diverged"),
        (KeyboardInterrupt(), KeyboardInterrupt, "interrupted"),
        (SystemExit(1), KeyboardInterrupt, "interrupted"),  # what Lightning makes of Ctrl-C
    ],
)
def test_stopped(error: BaseException, raised: type, status: str, record: records.Record, tmp_path: Path):
    with pytest.raises(raised):
        stop_with(error, record, tmp_path)
    written = records.read(tmp_path)
    assert written == record
    assert written["status"] == status
    assert str(error) in written["error"] or status == "interrupted"
    assert written["error"]


def test_interrupted_until_known_otherwise(record: records.Record, tmp_path: Path):
    """What a killed process leaves behind."""
    with records.recording(record, tmp_path):
        assert records.read(tmp_path)["status"] == "interrupted"


def test_only_the_first_process_writes(record: records.Record, tmp_path: Path):
    with records.recording(record, tmp_path, is_first=False):
        pass
    assert list(tmp_path.iterdir()) == []
    assert record["status"] == "finished"


def test_what_is_not_finite_becomes_null(record: records.Record, tmp_path: Path):
    record["data"] = {"a": float("nan"), "speed": [float("inf"), -float("inf"), 1.5], "pair": (1, float("nan"))}
    records.write(record, tmp_path)
    assert records.read(tmp_path)["data"] == {"a": None, "speed": [None, None, 1.5], "pair": [1, None]}


def test_a_value_that_json_cannot_hold_leaves_the_old_record(record: records.Record, tmp_path: Path):
    records.write(record, tmp_path)
    with pytest.raises(TypeError):
        records.write(record | {"test": {1, 2}}, tmp_path)
    assert records.read(tmp_path) == record
    assert [path.name for path in tmp_path.iterdir()] == [records.FILE]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_record(
    step: str, record: records.Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: object) -> None:
        raise OSError("no space left on device")

    records.write(record, tmp_path)
    monkeypatch.setattr(f"longlag.records.store.os.{step}", full)
    with pytest.raises(OSError, match="no space left"):
        records.write(record | {"status": "failed"}, tmp_path)
    assert records.read(tmp_path) == record
    assert [path.name for path in tmp_path.iterdir()] == [records.FILE]


def test_claim(record: records.Record, tmp_path: Path):
    folder = tmp_path / "outputs" / "run"
    with records.claimed(folder):
        assert list(folder.iterdir()) == [folder / records.LOCK]
    assert list(folder.iterdir()) == []
    with records.claimed(folder):  # an empty one is nobody's
        records.write(record, folder)
    with pytest.raises(FileExistsError, match="holds a run already"), records.claimed(folder):
        pass
    with records.claimed(folder, go_on=True):
        pass
    assert [path.name for path in folder.iterdir()] == [records.FILE]


def test_a_run_belongs_to_one_process(tmp_path: Path):
    with records.claimed(tmp_path), pytest.raises(BlockingIOError, match="locked by another process"):
        records.claimed(tmp_path, go_on=True).__enter__()
    with records.claimed(tmp_path):
        pass


def test_read_nothing(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"holds no run: there is no record\.json"):
        records.read(tmp_path)


@pytest.mark.parametrize("text", ["", '{"schema": 1', "[1]", "null", "{}", '{"schema": 2}', '{"schema": "1"}'])
def test_read_what_is_no_record(text: str, tmp_path: Path):
    (tmp_path / records.FILE).write_text(text)
    with pytest.raises(ValueError, match=r"record\.json is not a record"):
        records.read(tmp_path)


def changed(config: dict, key: str, value: object) -> dict:
    cfg = OmegaConf.create(config)
    OmegaConf.update(cfg, key, value, merge=False)
    return OmegaConf.to_container(cfg)


@pytest.mark.parametrize(
    ("key", "value"),
    [("logger", {}), ("runtime.threads", 3), ("trainer.accelerator", "cpu"), ("trainer.strategy", "ddp"),
     ("trainer.devices", 2), ("trainer.num_nodes", 2), ("trainer.log_every_n_steps", 7), ("published", {"value": 1})],
)  # fmt: skip
def test_hash_is_of_what_was_asked_not_of_where_it_ran(config: dict, key: str, value: object):
    assert records.config_hash(changed(config, key, value)) == records.config_hash(config)


@pytest.mark.parametrize(
    ("key", "value"),
    [("lag", 7), ("seed", 7), ("lr", 0.5), ("max_steps", 7), ("batch_size", 7), ("model._target_", "mycell.Core"),
     ("model.hidden_size", 7), ("task.payload", 7), ("eval.sequences", 7), ("optimizer.lr", 0.5),
     ("trainer.precision", "bf16-mixed"), ("trainer.gradient_clip_val", None)],
)  # fmt: skip
def test_hash_tells_apart_what_was_asked(config: dict, key: str, value: object):
    assert records.config_hash(changed(config, key, value)) != records.config_hash(config)


def test_hash_does_not_depend_on_the_order_of_keys(config: dict):
    turned = json.loads(json.dumps(config), object_pairs_hook=lambda pairs: dict(reversed(pairs)))
    assert list(turned) != list(config)
    assert records.config_hash(turned) == records.config_hash(config)


def learned(record: records.Record, curve: dict[int, float], status: str = "finished", **settings: object) -> dict:
    points = [{"step": step, "accuracy": accuracy, "loss": 1.0} for step, accuracy in curve.items()]
    config = record["config"] | {"max_steps": 100, "batch_size": 4} | settings
    return record | {"learning_curve": points, "status": status, "config": config, "test": {"accuracy": 0.123}}


def test_the_score_is_the_validation_accuracy_averaged_over_the_budget(record: records.Record):
    budget = record["config"]["budget"]
    assert tuning_score(learned(record, {50: 0.2, 100: 0.6})) == pytest.approx(0.4)
    assert tuning_score(learned(record, {10: 0.2, 100: 0.6})) == pytest.approx(0.56)
    assert tuning_score(learned(record, {10: 0.5, 20: 1.0})) == pytest.approx(0.95)  # solved: the rest counts as such
    assert tuning_score(learned(record, {10: 0.5, 20: 1.0}, budget=budget | {"sequences": 83})) == pytest.approx(0.75)
    assert tuning_score(learned(record, {10: 0.5, 20: 1.0}, budget=budget | {"sequences": 10**6})) == pytest.approx(
        0.95
    )
    assert tuning_score(learned(record, {100: 1.0})) == 1.0


def test_the_score_of_a_run_that_did_not_finish(record: records.Record):
    assert tuning_score(learned(record, {50: 0.9}, status="diverged")) == 0.0
    assert tuning_score(learned(record, {50: 0.9}, status="failed")) is None
    assert tuning_score(learned(record, {50: 0.9}, status="interrupted")) is None


def test_accuracy_in_words(record: records.Record):
    assert records.accuracy_in_words(record) == ""
    tested = learned(record, {50: 0.9})
    assert records.accuracy_in_words(tested) == "accuracy 0.123"
    assert records.accuracy_in_words(tested | {"test": {}}) == "validation accuracy 0.900"


def test_a_claim_removes_our_own_temporaries_and_nothing_else(tmp_path: Path):
    """Once it removed whatever matched `.*-*.*`."""
    theirs = [".pre-commit-config.yaml", ".my-notes.txt", ".clang-format.bak", ".longlag-notes-record.json"]
    theirs += [".1-2.txt", ".longlag-12-mine.txt", "longlag-12-record.json", ".longlag-12-record.json.bak"]
    for name in theirs:
        (tmp_path / name).touch()
    (tmp_path / ".longlag-13-record.json").mkdir()
    (tmp_path / ".longlag-14-record.json").symlink_to(theirs[0])
    ours = [".longlag-12-record.json", ".longlag-99-last.ckpt", ".longlag-7-lag_curve.png"]
    for name in ours:
        (tmp_path / name).touch()
    before = {path.name for path in tmp_path.iterdir()}
    with records.claimed(tmp_path):
        pass
    assert {path.name for path in tmp_path.iterdir()} == before - set(ours)


def test_what_a_killed_process_leaves_of_a_write_is_removed(tmp_path: Path):
    with replacing(tmp_path / records.FILE) as temporary:
        temporary.touch()
    temporary.touch()
    with records.claimed(tmp_path, go_on=True):
        assert sorted(path.name for path in tmp_path.iterdir()) == [records.LOCK, records.FILE]


@pytest.mark.parametrize("cause", [errno.EACCES, errno.ENOSPC, errno.EROFS])
def test_a_folder_that_cannot_be_written_to_says_why(cause: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(cause, os.strerror(cause), str(tmp_path / records.LOCK))

    monkeypatch.setattr(records.store.FileLock, "acquire", refuse)
    with pytest.raises(OSError, match=f"cannot be written to: {os.strerror(cause)}") as refused:
        records.claimed(tmp_path).__enter__()
    assert ".lock" not in str(refused.value)


def test_where_a_record_was_read_from_is_not_stored(record: records.Record, tmp_path: Path):
    records.write(record | {"folder": "elsewhere"}, tmp_path)
    assert "folder" not in json.loads((tmp_path / records.FILE).read_text())


def test_control_characters_stay_out_of_what_is_read(record: records.Record, tmp_path: Path):
    evil = "a\x1b[2Jb\x07\u202ec\x9b"
    text = json.dumps(records.store.stored(record) | {"model": evil, "error": evil, "data": {evil: [evil]}})
    (tmp_path / records.FILE).write_text(text)
    read = records.read(tmp_path)
    plain = "a\N{REPLACEMENT CHARACTER}[2Jb\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}c\N{REPLACEMENT CHARACTER}"
    assert (read["model"], read["error"], read["data"]) == (plain, plain, {plain: [plain]})


def test_control_characters_stay_out_of_an_error(record: records.Record, tmp_path: Path):
    with pytest.raises(ValueError, match="a"):
        stop_with(ValueError("a\x1b[2J"), record, tmp_path)
    assert "\x1b" not in str(record["error"])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for 200 kB."""
    where = tmp_path / "disk"
    where.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "none", str(where)], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("a file system can be mounted by root alone")
    try:
        yield where
    finally:
        subprocess.run(["umount", "-l", str(where)], check=True)


@pytest.mark.parametrize("free", [4, 12, 24, 40, 60])
def test_a_full_disk_is_named(free: int, small_disk: Path):
    """With less and less room: wherever the run stops, its last words and its record say why."""
    run = small_disk / "run"
    (small_disk / "filler").write_bytes(bytes(1024 * (200 - free)))
    small = ("task=copy", "lag=6", "max_steps=6", "validation.every=2", "validation.sequences=16", "eval.sequences=16")
    code, said = train(
        small_disk.parent, *small, "model.hidden_size=16", "runtime.checkpoint_seconds=0", "logger=csv",
        f"hydra.run.dir={run}",
    )  # fmt: skip
    assert code == 1, said
    assert "No space left on device" in said.splitlines()[-1]
    assert "Traceback" not in said
    if (run / records.FILE).exists():
        record = records.read(run)
        assert (record["status"], "No space left" in record["error"]) == ("failed", True)
