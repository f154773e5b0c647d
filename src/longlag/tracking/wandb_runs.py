"""Weights & Biases runs: started online when it can be, offline when not; filled from records. Needs no torch."""

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

ABANDONED_AFTER = 1.0  # seconds that wandb's process has to end
MODES = ("auto", "online", "offline")
MIRRORED = ("model", "task", "lag", "seed", "config_hash", "config")  # the W&B config is the record's
SINGLE = ("status", "solved", "steps_to_solve", "sequences_to_solve", "seconds_to_solve", "config_hash")
FOLDER, TIMEOUT = "outputs", 15  # as in conf/logger/wandb.yaml
AXES = {"lag_curve": "lag", "gradient": "distance", "gradient_scalars": "step"}  # what the record's curves are over


def start(mode: str, timeout: float, folder: str | Path, tell: bool = True, **given: Any) -> Any:
    """`wandb.init`, online or offline.

    Args:
        mode: `online`, `offline`, or `auto`: online if logged in and the server answers. The environment variable
            WANDB_MODE goes first.
        timeout: seconds to wait for the server at the start, and for the upload at the end.
        folder: W&B keeps its files in `folder`/wandb; the environment variable WANDB_DIR goes first.
        tell: where an online run is to be seen; where an offline one lies, and how to send it.
        given: for `wandb.init`. A run whose `id` is known to the server goes on, also where it is sent later.

    Raises:
        ValueError: where `mode` is unknown.
        RuntimeError: where W&B cannot start.
    """
    if mode not in MODES:
        raise ValueError(f"logger.wandb.mode must be one of {', '.join(MODES)}, got {mode}")
    _report_nothing()
    wandb.setup(wandb.Settings(silent=True))  # what there is to say, we say
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
        except Exception as error:  # CommError, UsageError, TimeoutError …: none of them may stop a run
            mode, why = "offline", first_line(error)
            wandb.teardown()
    try:
        run = wandb.init(mode=mode, **given)  # type: ignore[arg-type]
    except Exception as error:  # no process to be had, no room to write …
        raise RuntimeError(first_line(error)) from error
    if mode == "offline" and tell:
        log.info("W&B is offline (%s). To send this run later: %s", why, _sync(run))
    return run


def named(record: Record) -> dict[str, Any]:
    """For `wandb.init`: the name, the type and the configuration of a run."""
    name = f"{record['model']}-{record['task']}-lag{record['lag']}-seed{record['seed']}"
    every: Mapping[str, Any] = cast("Any", record)
    return {"name": name, "job_type": "run", "config": {key: every[key] for key in MIRRORED}}


def run_id(folder: Path, record: Record) -> str:
    """The same when a run goes on, another in another folder."""
    return hashlib.sha256(f"{folder.resolve()} {record['config_hash']}".encode()).hexdigest()[:16]


def add_picture(folder: Path, record: Record, picture: Path, where: str) -> None:
    """Log a picture that was drawn later to the W&B run of the folder.

    Args:
        folder, record: of the run. What the record says of loggers is not heeded: it may be anybody's.
        picture: to be logged.
        where: PROJECT or ENTITY/PROJECT, which the run is in.

    Raises RuntimeError where W&B cannot start.
    """
    entity, _, project = where.rpartition("/")
    given = named(record) | {"project": project, "entity": entity or None, "id": run_id(folder, record)}
    run = start("auto", TIMEOUT, FOLDER, **given)
    run.log({f"{picture.stem}/picture": wandb.Image(str(picture))})
    finish(run, record["status"] == "finished")


def log_record(run: Any, record: Record, pictures: Iterable[Path] = ()) -> None:
    """The lag curve, the gradients, the pictures, the generated text, and the record as the run's summary."""
    every: Mapping[str, Any] = cast("Any", record)
    for kind, axis in AXES.items():
        numbers = [{name: value for name, value in point.items() if _number(value)} for point in every[kind]]
        for name in sorted({name for point in numbers for name in point} - {axis}):
            run.define_metric(f"{kind}/{name}", step_metric=f"{kind}/{axis}")
        for point in numbers:
            run.log({f"{kind}/{name}": value for name, value in point.items()})
    for picture in pictures:
        run.log({f"{picture.stem}/picture": wandb.Image(str(picture))})
    if sample := record["example"].get("sample"):
        run.log({"example/sample": wandb.Table(columns=list(sample), data=[list(sample.values())])})
    summary = {name: every[name] for name in SINGLE}
    for group in ("test", "cost"):
        summary |= {f"{group}/{name}": value for name, value in every[group].items()}
    run.summary.update(summary)


def finish(run: Any, ok: bool = True) -> None:
    """End a W&B run, as failed where it was not `ok`; says once where the server did not take all of it in time."""
    try:
        run.finish(exit_code=0 if ok else 1)
    except TimeoutError:
        log.warning("W&B: the server did not take all of this run. To send it later: %s", _sync(run))
        abandon()


def is_lost(error: BaseException) -> bool:
    """Whether an error says that the process that wandb runs beside this one has ended."""
    return isinstance(error, ConnectionResetError | BrokenPipeError) or "mailbox" in type(error).__module__


def to_send_later(run: Any) -> str:
    """How to send what W&B has of a run that was lost."""
    return f"To send what it has until now: {_sync(run)}"


def abandon() -> None:
    """Have nothing more to do with the process that wandb runs beside this one: its server hangs, or it is lost.

    wandb would wait for it without a limit when this process ends, or print a traceback there. The next run starts
    another one.
    """

    def end() -> None:
        with suppress(Exception):
            wandb.teardown()

    waiting = Thread(target=end, daemon=True)
    waiting.start()
    waiting.join(ABANDONED_AFTER)


def files_in(folder: str | Path) -> Path:
    """The folder that W&B's own lies in, made where it is missing."""
    where = Path(os.environ.get("WANDB_DIR", folder)).resolve()
    where.mkdir(parents=True, exist_ok=True)
    return where


def _sync(run: Any) -> str:
    """The command that sends it."""
    return f"wandb sync {'' if run.offline else '--include-online '}{shown(Path(run.dir).parent)}"


def logged_in() -> bool:
    """Whether there is a key; whether the server takes it, only a run will tell."""
    _report_nothing()
    try:
        return bool(wandb.login(prompt=False, verify=False))
    except Exception:  # a broken key or settings file: offline
        return False


def _report_nothing() -> None:
    """Unless the user says otherwise, W&B's library sends its maker no figures on its own work.

    It would do so before it is known whether anybody is logged in, even of a run that stays offline.
    """
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")


def _number(value: Any) -> bool:
    return isinstance(value, int | float)
