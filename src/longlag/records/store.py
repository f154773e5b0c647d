"""Reads, validates and writes `record.json`, and locks the folder of a run so that one process at a time uses it."""

import errno
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from filelock import FileLock, Timeout
from omegaconf import DictConfig

from longlag.files import all_printable, first_line, printable, write_text
from longlag.records.identity import config_hash
from longlag.records.schema import SCHEMA, Record, without_results
from longlag.records.upgrade import upgrade

if TYPE_CHECKING:
    from pydantic import TypeAdapter

FILE = "record.json"
WEIGHTS = "model.ckpt"
LOCK = ".lock"
# Names of the temporary files that `replacing` writes for the files of a run.
TEMPORARY = re.compile(r"\.longlag-\d+-(record\.json|model\.ckpt|last\.ckpt|sample\.txt|[a-z_]+\.png)")
LARGEST = 64 * 2**20  # bytes; the records of the longest runs take a tenth of this
LINKED = ("wandb", ".submitit")  # folders in which W&B and submitit keep their own symbolic links
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def new(config: dict[str, Any], model: str, task: str) -> Record:
    """The record of a run that has not begun yet.

    Args:
        config: all settings as plain values, interpolations resolved.
        model, task: names of their YAML files.
    """
    record: Any = {
        "schema": SCHEMA,
        "status": "interrupted",  # holds if the process is killed before it can write another status
        "model": model,
        "task": task,
        "lag": config["lag"],
        "seed": config["seed"],
        "config": config,
        "config_hash": config_hash(config),
        "started": now(),
        "sequences": {"validation": config["validation"]["sequences"], "test": 0, "gradient": 0},
        **without_results(),
    }
    return cast("Record", record)


def now() -> str:
    """The current time: UTC, to the second, in ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@contextmanager
def recording(record: Record, folder: Path, is_first: bool = True) -> Iterator[None]:
    """Write `record.json` when the block begins and when it ends, with how the run ended. Exceptions are re-raised.

    Lightning turns Ctrl-C into SystemExit, which is re-raised as KeyboardInterrupt. In a DDP run only the first process
    writes.
    """
    if is_first:
        write(record, folder)
    try:
        yield
        record["status"] = "finished"
    except (KeyboardInterrupt, SystemExit) as stop:
        record["status"], record["error"] = "interrupted", "stopped from outside"
        raise KeyboardInterrupt from stop
    except BaseException as error:
        record["status"] = "diverged" if isinstance(error, FloatingPointError) else "failed"
        record["error"] = printable(f"{type(error).__name__}: {error}")
        raise
    finally:
        record["ended"] = now()
        if is_first:
            _write_the_last(record, folder)


@contextmanager
def claimed(folder: Path, go_on: bool = False) -> Iterator[None]:
    """Create the folder of a run and lock it for this process until the block ends.

    Args:
        folder: of the run.
        go_on: whether a run that is already in the folder is to be resumed.

    Raises:
        FileExistsError: if the folder holds a run that is not to be resumed: results are never overwritten.
        BlockingIOError: if another process has locked the folder.
        PermissionError: if the run is to be resumed and its folder holds a link that leads out of it.
        OSError: if the folder cannot be written to, with the cause.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if go_on:
            refuse_links_out(folder)
        lock = FileLock(folder / LOCK)
        lock.acquire(blocking=False)
    except Timeout:
        raise BlockingIOError(f"{folder} is locked by another process, which works on this run") from None
    except OSError as error:
        if error.errno is None:  # raised by `refuse_links_out`, which has a full message
            raise
        raise type(error)(f"{folder} cannot be written to: {error.strerror}") from error
    try:
        if (folder / FILE).exists() and not go_on:
            raise FileExistsError(f"{folder} holds a run already; go on with resume={folder}, or choose another folder")
        _remove_temporaries(folder)
        yield
    finally:
        with suppress(OSError):  # an error here would hide the one that ended the run
            (folder / LOCK).unlink(missing_ok=True)
        lock.release()


def locked(folder: Path) -> bool:
    """Whether another process has locked the folder."""
    if not (folder / LOCK).exists():
        return False
    lock = FileLock(folder / LOCK)
    try:
        with lock.acquire(blocking=False):
            return False
    except Timeout:
        return True


def _remove_temporaries(folder: Path) -> None:
    """Remove the temporary files of a process that was killed while it wrote a file of the run; see `replacing`."""
    for path in folder.iterdir():
        if TEMPORARY.fullmatch(path.name) and path.is_file() and not path.is_symlink():
            path.unlink()


def write(record: Record, folder: Path) -> None:
    """Write `record.json` atomically: a reader finds the old file or the new one, never a part of one."""
    write_text(folder / FILE, json.dumps(_plain(stored(record)), indent=1, allow_nan=False) + "\n")


def stored(record: Record) -> dict[str, Any]:
    """The keys of a record that are written: all except `folder`, where it was read from."""
    return {key: value for key, value in record.items() if key != "folder"}


def _write_the_last(record: Record, folder: Path) -> None:
    """Write the record of a run that ended. On a full disk, overwrite the first record with a shorter one."""
    try:
        write(record, folder)
    except OSError as error:
        if error.errno in NO_ROOM:
            _write_in_place(record, folder, error)
        raise


def _write_in_place(record: Record, folder: Path, full: OSError) -> None:
    """Overwrite the record on disk with one that holds only how the run ended and why, and so needs no more space.

    This is not atomic and therefore used only when the disk is full.
    """
    failed = new(cast("Any", record["config"]), record["model"], record["task"])
    failed["command"], failed["started"], failed["ended"] = record["command"], record["started"], record["ended"]
    failed["status"], failed["error"] = "failed", record["error"] or f"{type(full).__name__}: {full}"
    with suppress(OSError), (folder / FILE).open("r+", encoding="utf-8") as file:
        file.write(json.dumps(_plain(failed), separators=(",", ":"), allow_nan=False) + "\n")
        file.truncate()


def read(folder: str | Path) -> Record:
    """The record of a run, upgraded to the current schema. All reading of `record.json` goes through this function.

    Raises:
        FileNotFoundError: if the folder has no record.
        ValueError: if the file is not a valid record; the message is one line and names the first error.
        OSError: if the file cannot be read.
    """
    path = Path(folder) / FILE
    if not path.exists():
        raise FileNotFoundError(f"{folder} holds no run: there is no {FILE} in it")
    if not path.is_file():
        raise ValueError(f"{path} is not a record: it is not a file")
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path} is not a record: it is larger than {LARGEST} bytes")
    try:
        return validated(json.loads(path.read_bytes(), parse_constant=_refuse))
    except RecursionError:
        raise ValueError(f"{path} is not a record: it is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{path} is not a record: {first_line(error)}") from error


def validated(found: Any) -> Record:
    """Parsed JSON as a record of the current schema. Raises ValueError, in one line, if it is not a valid record."""
    if not isinstance(found, dict):
        raise ValueError("it is not a JSON object")
    found.pop("folder", None)  # the caller that read the file sets it, not the file
    try:
        upgraded = upgrade(found)
    except (AttributeError, KeyError, TypeError) as error:  # a key that `upgrade` needs is missing or has a wrong type
        raise ValueError(f"it lacks settings that every run has ({error!r})") from error
    from pydantic import ValidationError

    try:
        record = _adapter().validate_python(all_printable(upgraded))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where}: {first['msg'][0].lower()}{first['msg'][1:]}") from error
    if lacking := sorted(_lacking(record)):
        raise ValueError(f"the run finished, but {', '.join(lacking)} is missing")
    return record


@cache
def _adapter() -> "TypeAdapter[Record]":
    """The pydantic validator of records. It takes 0.1 s to build, so it is built when the first record is read."""
    from pydantic import TypeAdapter

    return TypeAdapter(Record)


def json_schema() -> dict[str, Any]:
    """The JSON schema of a record."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_adapter().json_schema()}


def _lacking(record: Record) -> Iterator[str]:
    """The keys that tables and pictures need of every finished run and that this one lacks."""
    if record["status"] != "finished":
        return
    needed: dict[str, tuple[Mapping[str, Any], tuple[str, ...]]] = {"cost": (record["cost"], ("parameters", "seconds"))}
    if record["test"]:
        needed["test"] = record["test"], ("accuracy", "loss", "chance")
    for name, (group, keys) in needed.items():
        yield from (f"{name}.{key}" for key in keys if key not in group)
    if record["test"] and not record["lag_curve"]:
        yield "lag_curve"


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not a number in JSON")


def config_of(record: Record) -> DictConfig:
    """The configuration in a record. A record is data: interpolations in it stay text and are never resolved."""
    return as_config(record["config"])


def as_config(values: Any) -> DictConfig:
    """Plain settings as a DictConfig in which no value is an interpolation.

    Raises ValueError if they are nested too deeply.
    """
    try:
        return DictConfig(_literal(values))
    except RecursionError as error:
        raise ValueError("the configuration is nested too deeply") from error


def _literal(value: Any) -> Any:
    """The value with every `${` escaped for OmegaConf, which needs backslashes before `${` to be doubled."""
    if isinstance(value, dict):
        return {key: _literal(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_literal(child) for child in value]
    return re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + "\\${", value) if isinstance(value, str) else value


def refuse_links_out(folder: Path) -> None:
    """Raise PermissionError if a link below the folder leads out of it: writing to it would change files elsewhere.

    Links in the folders LINKED are not checked, since neither W&B nor submitit writes to links that it finds there.
    """
    home = os.path.realpath(folder)
    for path in folder.rglob("*"):
        theirs = set(LINKED) & set(path.parent.relative_to(folder).parts)
        if path.is_symlink() and not theirs and not Path(os.path.realpath(path)).is_relative_to(home):
            raise PermissionError(
                f"{path} is a link that leads out of {folder}; replace it by the file or folder that it points to"
            )


def accuracy_in_words(record: Record) -> str:
    """The test accuracy in words, or the last validation accuracy of a run without a test; empty without either."""
    if record["test"]:
        return f"accuracy {record['test']['accuracy']:.3f}"
    curve = record["learning_curve"]
    return f"validation accuracy {curve[-1]['accuracy']:.3f}" if curve else ""


def _plain(value: Any) -> Any:
    """The value as JSON can hold it: numbers that are not finite become None (null)."""
    if isinstance(value, dict):
        return {str(key): _plain(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(child) for child in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
