"""One row per run: `record.json`. Reads and writes it; needs no torch.

Schema 1; `new` lists its keys. `status` is finished, failed, diverged or interrupted; `error` says why where it is not
finished. What could not be measured is null.
"""

import hashlib
import json
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import DictConfig

from longlag import budget

SCHEMA = 1
FILE = "record.json"
WEIGHTS = "model.ckpt"
SAMPLE = "sample.txt"
LOCK = ".lock"
BUDGETED = ("max_steps", "batch_size", "budget")  # the settings that the number of steps follows from
LARGEST = 64 * 2**20  # bytes of a record; those of the longest runs take a tenth of it
LINKED = ("wandb", ".submitit")  # folders in which W&B and submitit keep links of their own
NOT_ASKED = ("logger", "published", "runtime", "trainer")  # settings that make no other run; of the trainer, most
Record = dict[str, Any]


class Diverged(FloatingPointError):
    """The loss is no longer a finite number."""


def new(config: dict[str, Any], model: str, task: str) -> Record:
    """The record of a run that has not got anywhere yet. `config` is resolved and plain."""
    return {
        "schema": SCHEMA,
        "status": "interrupted",  # until it is known to have ended otherwise
        "error": None,
        "model": model,
        "task": task,
        "lag": config["lag"],
        "seed": config["seed"],
        "config": config,
        "config_hash": config_hash(config),
        "command": None,
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
        "data": {},
        "example": {},
        "cost": {},
        "environment": {},
    }


def config_hash(config: dict[str, Any]) -> str:
    """Names what was asked for: two runs with one hash differ at most in where and how fast they ran."""
    asked = {key: value for key, value in config.items() if key not in NOT_ASKED}
    asked["trainer"] = {key: config["trainer"].get(key) for key in ("precision", "gradient_clip_val")}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]


@contextmanager
def recording(record: Record, folder: Path, is_first: bool = True) -> Iterator[None]:
    """Whatever happens inside, `record.json` is written and says truly how it ended; the exception goes on.

    Lightning turns Ctrl-C into SystemExit; that goes on as KeyboardInterrupt. Of the processes of a ddp run only the
    first writes.
    """
    if is_first:
        write(record, folder)
    try:
        yield
        record["status"] = "finished"
    except (KeyboardInterrupt, SystemExit) as stop:
        record.update(status="interrupted", error="stopped from outside")
        raise KeyboardInterrupt from stop
    except BaseException as error:
        status = "diverged" if isinstance(error, Diverged) else "failed"
        record.update(status=status, error=f"{type(error).__name__}: {error}")
        raise
    finally:
        if is_first:
            write(record, folder)


@contextmanager
def claimed(folder: Path, go_on: bool = False) -> Iterator[None]:
    """Make the folder of a run and keep it to this process, however it ends.

    Raises FileExistsError where it holds a run already and that is not to go on: results are not overwritten;
    BlockingIOError where another process is at work on it; PermissionError where one that is to go on holds a
    link that leads out of it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if go_on:
        refuse_links_out(folder)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise BlockingIOError(f"{folder}: another process is at work on this run") from None
    try:
        if (folder / FILE).exists() and not go_on:
            raise FileExistsError(f"{folder} holds a run already; go on with resume={folder}, or choose another folder")
        for half in folder.glob(".*-*.*"):  # written by a process that was killed; see replacing
            half.unlink()
        yield
    finally:
        (folder / LOCK).unlink(missing_ok=True)
        lock.release()


def write(record: Record, folder: Path) -> None:
    """Write `record.json` atomically: a reader finds the old file or the new one, never half of one."""
    write_text(folder / FILE, json.dumps(_plain(record), indent=1, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside `path` to write to; it becomes `path` when it is complete, and vanishes when writing it fails."""
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    temporary.unlink(missing_ok=True)  # writing to a link of that name would write to what it leads to
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read(folder: str | Path) -> Record:
    """The record of a run. Raises FileNotFoundError without one, ValueError where it is of another schema or broken."""
    path = Path(folder) / FILE
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no run: there is no {FILE} in it")
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path} is not a record: it is larger than {LARGEST} bytes")
    try:
        record: Record = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, or nested too deeply
        raise ValueError(f"{path} is not a record: {error}") from error
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        raise ValueError(f"{path} is not a record of schema {SCHEMA}")
    record.pop("folder", None)  # where it lies is for those to say who read it
    return record


def config_of(record: Record) -> DictConfig:
    """The configuration in a record. It is data: what looks like an interpolation stays the text that it is.

    Raises ValueError where there is none.
    """
    config = record.get("config")
    if not isinstance(config, dict):
        raise ValueError("the record has no configuration")
    try:
        return DictConfig(_literal(config))
    except RecursionError as error:
        raise ValueError("the record's configuration is nested too deeply") from error


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


def score(record: Record) -> float | None:
    """What tuning looks at, in [0, 1]: the validation accuracy, averaged over the steps of the budget.

    Each validation speaks for the steps since the one before it, the last one also for those that the run did not take:
    learning sooner counts, and so does ending well. 0 of a run that diverged; None of one that did not come to its end.
    """
    if record["status"] == "diverged":
        return 0.0
    if record["status"] != "finished" or not record["learning_curve"]:
        return None
    steps = budget.steps(config_of({"config": {name: record["config"].get(name) for name in BUDGETED}}))
    passed, total, accuracy = 0, 0.0, 0.0
    for point in record["learning_curve"]:
        accuracy = point["accuracy"]
        total += accuracy * (point["step"] - passed)
        passed = point["step"]
    return (total + accuracy * (steps - passed)) / steps


def accuracy_in_words(record: Record) -> str:
    """The test accuracy in words, or the last validation accuracy of a run without a test; empty without either."""
    if record["test"]:
        return f"accuracy {record['test']['accuracy']:.3f}"
    curve = record["learning_curve"]
    return f"validation accuracy {curve[-1]['accuracy']:.3f}" if curve else ""


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return (str(error) or type(error).__name__).splitlines()[0]


def shown(path: Path) -> Path:
    """A path as a user wants to read it: from the working directory on where it lies below it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _plain(value: Any) -> Any:
    """What JSON can hold: a number that is not finite becomes null."""
    if isinstance(value, dict):
        return {str(key): _plain(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(child) for child in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
