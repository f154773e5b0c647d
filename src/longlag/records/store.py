"""`record.json` on disk: read, checked and written; and the folder of a run, which one process owns at a time."""

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
from longlag.records.schema import SCHEMA, Record
from longlag.records.upgrade import upgrade

if TYPE_CHECKING:
    from pydantic import TypeAdapter

FILE = "record.json"
WEIGHTS = "model.ckpt"
SAMPLE = "sample.txt"
LOCK = ".lock"
TEMPORARY = re.compile(r"\.longlag-\d+-(record\.json|model\.ckpt|last\.ckpt|sample\.txt|[a-z_]+\.png)")  # of a run
LARGEST = 64 * 2**20  # bytes of a record; those of the longest runs take a tenth of it
LINKED = ("wandb", ".submitit")  # folders in which W&B and submitit keep links of their own
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def new(config: dict[str, Any], model: str, task: str) -> Record:
    """The record of a run that has not begun yet.

    Args:
        config: all settings, resolved and plain.
        model, task: the names that were chosen.
    """
    return {
        "schema": SCHEMA,
        "status": "interrupted",  # until it is known to have ended otherwise
        "error": None,
        "model": model,
        "task": task,
        "lag": config["lag"],
        "seed": config["seed"],
        "config": cast("Any", config),
        "config_hash": config_hash(config),
        "command": None,
        "started": now(),
        "ended": None,
        "training_lags": [],
        "learning_curve": [],
        "ended_by": None,
        "solved": False,
        "steps_to_solve": None,
        "sequences_to_solve": None,
        "seconds_to_solve": None,
        "best_step": None,
        "test": {},
        "lag_curve": [],
        "gradient": [],
        "gradient_scalars": [],
        "sequences": {"validation": config["validation"]["sequences"], "test": 0, "gradient": 0},
        "data": {},
        "example": {},
        "cost": {},
        "environment": {},
        "artifacts": [],
    }


def now() -> str:
    """The wall clock: UTC, to the second, as ISO 8601 writes it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@contextmanager
def recording(record: Record, folder: Path, is_first: bool = True) -> Iterator[None]:
    """Whatever happens inside, `record.json` is written and says truly how the run ended; the exception goes on.

    Lightning turns Ctrl-C into SystemExit; that goes on as KeyboardInterrupt. Of the processes of a ddp run only the
    first writes.
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
    """Make the folder of a run and keep it to this process, however it ends.

    Raises FileExistsError where it holds a run already and that is not to go on: results are not overwritten;
    BlockingIOError where another process works on it; PermissionError where one that is to go on
    holds a link that leads out of it; OSError where nothing can be written there, with the cause.
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
        if error.errno is None:  # a refusal of ours, in words already
            raise
        raise type(error)(f"{folder} cannot be written to: {error.strerror}") from error
    try:
        if (folder / FILE).exists() and not go_on:
            raise FileExistsError(f"{folder} holds a run already; go on with resume={folder}, or choose another folder")
        _remove_temporaries(folder)
        yield
    finally:
        with suppress(OSError):  # an error on the way out would hide the one that matters
            (folder / LOCK).unlink(missing_ok=True)
        lock.release()


def locked(folder: Path) -> bool:
    """Whether another process has claimed the folder."""
    if not (folder / LOCK).exists():
        return False
    lock = FileLock(folder / LOCK)
    try:
        with lock.acquire(blocking=False):
            return False
    except Timeout:
        return True


def _remove_temporaries(folder: Path) -> None:
    """Those that a process left which was killed while it wrote one of a run's files; see `replacing`."""
    for path in folder.iterdir():
        if TEMPORARY.fullmatch(path.name) and path.is_file() and not path.is_symlink():
            path.unlink()


def write(record: Record, folder: Path) -> None:
    """Write `record.json` atomically: a reader finds the old file or the new one, never half of one."""
    write_text(folder / FILE, json.dumps(_plain(stored(record)), indent=1, allow_nan=False) + "\n")


def stored(record: Record) -> dict[str, Any]:
    """What of a record is written: all but where it was read from."""
    return {key: value for key, value in record.items() if key != "folder"}


def _write_the_last(record: Record, folder: Path) -> None:
    """Write a record that has ended; on a full disk, what fits where the record of the beginning stands."""
    try:
        write(record, folder)
    except OSError as error:
        if error.errno in NO_ROOM:
            _write_in_place(record, folder, error)
        raise


def _write_in_place(record: Record, folder: Path, full: OSError) -> None:
    """Over the record that is there, with how the run ended and why, and without what would take more room.

    Not atomic, and therefore only done where nothing else can be.
    """
    failed = new(cast("Any", record["config"]), record["model"], record["task"])
    failed["command"], failed["started"], failed["ended"] = record["command"], record["started"], record["ended"]
    failed["status"], failed["error"] = "failed", record["error"] or f"{type(full).__name__}: {full}"
    with suppress(OSError), (folder / FILE).open("r+", encoding="utf-8") as file:
        file.write(json.dumps(_plain(failed), separators=(",", ":"), allow_nan=False) + "\n")
        file.truncate()


def read(folder: str | Path) -> Record:
    """The record of a run, as one of today whatever its age. The only reader of `record.json`.

    Raises:
        FileNotFoundError: where there is none.
        ValueError: where the file is not a record, in one line that names the first thing that is wrong with it.
        OSError: where it cannot be read.
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
    """What was read, as a record of today. Raises ValueError, in one line, where it is none."""
    if not isinstance(found, dict):
        raise ValueError("it is not an object with keys")
    found.pop("folder", None)  # where it lies is for those to say who read it
    try:
        upgraded = upgrade(found)
    except (AttributeError, KeyError, TypeError) as error:  # what `upgrade` builds on is missing, or of another type
        raise ValueError(f"it lacks settings that every run has ({error!r})") from error
    from pydantic import ValidationError

    try:
        record = _adapter().validate_python(all_printable(upgraded))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where}: {first['msg'][0].lower()}{first['msg'][1:]}") from error
    if lacking := sorted(_lacking(record)):
        raise ValueError(f"the run finished, and {', '.join(lacking)} is missing")
    return record


@cache
def _adapter() -> "TypeAdapter[Record]":
    """Checks records; made when the first one is read, since it takes a tenth of a second."""
    from pydantic import TypeAdapter

    return TypeAdapter(Record)


def json_schema() -> dict[str, Any]:
    """The JSON schema of a record."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_adapter().json_schema()}


def _lacking(record: Record) -> Iterator[str]:
    """What a finished run must have, since tables and pictures are made of it, and this one has not."""
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
    """The configuration in a record. It is data: what looks like an interpolation stays the text that it is."""
    return as_config(record["config"])


def as_config(values: Any) -> DictConfig:
    """Plain settings as OmegaConf holds them, nothing in them being an interpolation.

    Raises ValueError where they are nested too deeply.
    """
    try:
        return DictConfig(_literal(values))
    except RecursionError as error:
        raise ValueError("the configuration is nested too deeply") from error


def _literal(value: Any) -> Any:
    """The value with every `${` escaped, as OmegaConf reads it: backslashes before it count double."""
    if isinstance(value, dict):
        return {key: _literal(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_literal(child) for child in value]
    return re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + "\\${", value) if isinstance(value, str) else value


def refuse_links_out(folder: Path) -> None:
    """Raise PermissionError where a link below the folder leads out of it: writing to it would change what is there.

    What lies in the folders LINKED is not looked at: neither W&B nor submitit writes to links that it finds there.
    """
    home = os.path.realpath(folder)
    for path in folder.rglob("*"):
        theirs = set(LINKED) & set(path.parent.relative_to(folder).parts)
        if path.is_symlink() and not theirs and not Path(os.path.realpath(path)).is_relative_to(home):
            raise PermissionError(f"{path} is a link that leads out of {folder}; put what it names in its place")


def accuracy_in_words(record: Record) -> str:
    """The test accuracy in words, or the last validation accuracy of a run without a test; empty without either."""
    if record["test"]:
        return f"accuracy {record['test']['accuracy']:.3f}"
    curve = record["learning_curve"]
    return f"validation accuracy {curve[-1]['accuracy']:.3f}" if curve else ""


def _plain(value: Any) -> Any:
    """What JSON can hold: a number that is not finite becomes null."""
    if isinstance(value, dict):
        return {str(key): _plain(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(child) for child in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
