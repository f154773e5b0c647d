"""Starts Weights & Biases runs, online if possible and else offline, and logs records to them. Needs no torch."""

import hashlib
import logging
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any, cast

import wandb

from longlag.files import first_line, shown
from longlag.records import Record

log = logging.getLogger(__name__)

ABANDONED_AFTER = 1.0  # seconds to wait for wandb's process to end
MODES = ("auto", "online", "offline")
MIRRORED = ("model", "task", "lag", "seed", "config_hash", "config")  # the W&B config is the record's
SINGLE = ("status", "solved", "steps_to_solve", "sequences_to_solve", "seconds_to_solve", "config_hash")
FOLDER, TIMEOUT = "outputs", 15  # as in conf/logger/wandb.yaml
AXES = {"lag_curve": "lag", "gradient": "distance", "gradient_scalars": "step"}  # the x axis of each curve of a record


def start(mode: str, timeout: float, folder: str | Path, tell: bool = True, **given: Any) -> Any:
    """Start a W&B run with `wandb.init`, online or offline.

    Args:
        mode: `online`, `offline`, or `auto`: online if logged in and the server answers. The environment variable
            WANDB_MODE takes precedence.
        timeout: seconds to wait for the server at the start, and for the upload at the end.
        folder: W&B keeps its files in `folder`/wandb; the environment variable WANDB_DIR takes precedence.
        tell: whether to log the address of an online run, or the command that sends an offline run later.
        given: arguments of `wandb.init`. A run whose `id` the server knows is continued, also if it is sent later.

    Raises:
        ValueError: if `mode` is unknown.
        RuntimeError: if W&B cannot start.
    """
    if mode not in MODES:
        raise ValueError(f"logger.wandb.mode must be one of {', '.join(MODES)}, got {mode}")
    _report_nothing()
    wandb.setup(wandb.Settings(silent=True))  # we log our own messages
    mode, why = os.environ.get("WANDB_MODE", mode), "as asked"
    if mode == "auto":
        mode, why = ("online", "") if logged_in() else ("offline", "not logged in")
    settings = wandb.Settings(silent=True, console="off", init_timeout=timeout, finish_timeout=timeout)
    settings.finish_timeout_raises = True
    given |= {"dir": files_in(folder), "resume": "allow", "settings": settings}
    if mode == "online":
        try:
            run: Any = wandb.init(mode="online", **given)
            if tell:
                log.info("W&B: %s", run.url)
            return run
        except Exception as error:  # CommError, UsageError, TimeoutError …: none may stop the run
            mode, why = "offline", first_line(error)
            wandb.teardown()
    try:
        run = wandb.init(mode=mode, **given)  # type: ignore[arg-type]
    except Exception as error:  # its process cannot start, the disk is full …
        raise RuntimeError(first_line(error)) from error
    if mode == "offline" and tell:
        log.info("W&B is offline (%s). To send this run later: %s", why, _sync(run))
    return run


def named(record: Record) -> dict[str, Any]:
    """Arguments of `wandb.init`: the name, the job type and the configuration of a run."""
    name = f"{record['model']}-{record['task']}-lag{record['lag']}-seed{record['seed']}"
    every: Mapping[str, Any] = cast("Any", record)
    return {"name": name, "job_type": "run", "config": {key: every[key] for key in MIRRORED}}


def run_id(folder: Path, record: Record) -> str:
    """The W&B id of a run: it stays the same when the run is resumed and differs between folders."""
    return hashlib.sha256(f"{folder.resolve()} {record['config_hash']}".encode()).hexdigest()[:16]


def add_picture(folder: Path, record: Record, picture: Path, where: str) -> None:
    """Log a picture that was drawn after the run to the W&B run that belongs to the folder.

    Args:
        folder, record: of the run. The logger settings in the record are ignored: the record may come from anyone.
        picture: the image file to log.
        where: PROJECT or ENTITY/PROJECT that holds the W&B run.

    Raises RuntimeError if W&B cannot start.
    """
    entity, _, project = where.rpartition("/")
    given = named(record) | {"project": project, "entity": entity or None, "id": run_id(folder, record)}
    run = start("auto", TIMEOUT, FOLDER, **given)
    run.log({f"{picture.stem}/picture": wandb.Image(str(picture))})
    finish(run, record["status"] == "finished")


def log_record(run: Any, record: Record, pictures: Iterable[Path] = ()) -> None:
    """Log the lag curve, the gradients, the pictures and the generated text; single values become the W&B summary."""
    every: Mapping[str, Any] = cast("Any", record)
    for kind, axis in AXES.items():
        numbers = [{name: value for name, value in point.items() if _number(value)} for point in every[kind]]
        for name in sorted({name for point in numbers for name in point} - {axis}):
            run.define_metric(f"{kind}/{name}", step_metric=f"{kind}/{axis}")
        for point in numbers:
            run.log({f"{kind}/{name}": value for name, value in point.items()})
    for picture in pictures:
        run.log({f"{picture.stem}/picture": wandb.Image(str(picture))})
    for name, artefact in record["example"].items():
        if artefact["kind"] == "text":
            row = [artefact["about"], artefact["text"]]
            run.log({f"example/{name}": wandb.Table(columns=["about", "text"], data=[row])})
    summary = {name: every[name] for name in SINGLE}
    for group in ("test", "cost"):
        summary |= {f"{group}/{name}": value for name, value in every[group].items()}
    run.summary.update(summary)


def finish(run: Any, ok: bool = True) -> None:
    """End a W&B run, marked as failed unless `ok`. Warns if the upload does not end within the timeout."""
    try:
        run.finish(exit_code=0 if ok else 1)
    except TimeoutError:
        log.warning("W&B: the server did not take all of this run. To send it later: %s", _sync(run))
        abandon()


def is_lost(error: BaseException) -> bool:
    """Whether an error means that the process that wandb runs beside this one has ended."""
    return isinstance(error, ConnectionResetError | BrokenPipeError) or "mailbox" in type(error).__module__


def to_send_later(run: Any) -> str:
    """A message with the command that sends the data logged before wandb's process ended."""
    return f"To send what it has until now: {_sync(run)}"


def abandon() -> None:
    """Drop the process that wandb runs beside this one, because the server does not answer or that process has ended.

    Otherwise wandb would wait for it without limit, or print a traceback, when this process exits. The next W&B run
    starts a new one.
    """

    def end() -> None:
        with suppress(Exception):
            wandb.teardown()

    waiting = Thread(target=end, daemon=True)
    waiting.start()
    waiting.join(ABANDONED_AFTER)


def files_in(folder: str | Path) -> Path:
    """The folder in which W&B makes its folder `wandb`; created if missing."""
    where = Path(os.environ.get("WANDB_DIR", folder)).resolve()
    where.mkdir(parents=True, exist_ok=True)
    return where


def _sync(run: Any) -> str:
    """The command that uploads the local files of the run to the server."""
    return f"wandb sync {'' if run.offline else '--include-online '}{shown(Path(run.dir).parent)}"


def logged_in() -> bool:
    """Whether W&B finds an API key. Whether the server accepts the key is only known when a run starts."""
    _report_nothing()
    try:
        return bool(wandb.login(prompt=False, verify=False))
    except Exception:  # a broken key or settings file: offline
        return False


def _report_nothing() -> None:
    """Turn off the wandb library's own error reporting, unless the user has set WANDB_ERROR_REPORTING.

    The library would send such reports before it is known whether anybody is logged in, even for an offline run.
    """
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")


def _number(value: Any) -> bool:
    return isinstance(value, int | float)
