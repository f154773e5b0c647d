"""Starting a Weights & Biases run: online when it can be, offline when not. Needs no torch."""

import logging
import os
from pathlib import Path
from typing import Any

import wandb

from longlag.records import first_line, shown

log = logging.getLogger(__name__)

MODES = ("auto", "online", "offline")


def start(mode: str, timeout: float, folder: str | Path, **given: Any) -> Any:
    """`wandb.init`; says once where an offline run lies and how to send it.

    Args:
        mode: `online`, `offline`, or `auto`: online if logged in and the server answers. The environment variable
            WANDB_MODE goes first.
        timeout: seconds to wait for the server at the start, and for the upload at the end.
        folder: W&B keeps its files in `folder`/wandb; the environment variable WANDB_DIR goes first.
        given: for `wandb.init`. A run whose `id` is known to the server goes on.

    Raises:
        ValueError: where `mode` is unknown.
    """
    if mode not in MODES:
        raise ValueError(f"logger.wandb.mode must be one of {', '.join(MODES)}, got {mode}")
    given["dir"] = files_in(folder)
    mode, why = os.environ.get("WANDB_MODE", mode), "as asked"
    if mode == "auto":
        mode, why = ("online", "") if _logged_in() else ("offline", "not logged in")
    settings = wandb.Settings(init_timeout=timeout, finish_timeout=timeout, silent=True, console="off")
    if mode == "online":
        try:
            return wandb.init(mode="online", resume="allow", settings=settings, **given)
        except Exception as error:  # CommError, UsageError, TimeoutError …: none of them may stop a run
            mode, why = "offline", first_line(error)
            wandb.teardown()
    run: Any = wandb.init(mode=mode, settings=settings, **given)  # type: ignore[arg-type]
    if mode == "offline":
        log.info("W&B is offline (%s). To send this run later: wandb sync %s", why, shown(Path(run.dir).parent))
    return run


def files_in(folder: str | Path) -> Path:
    """The folder that W&B's own lies in, made where it is missing."""
    where = Path(os.environ.get("WANDB_DIR", folder)).resolve()
    where.mkdir(parents=True, exist_ok=True)
    return where


def _logged_in() -> bool:
    try:
        return bool(wandb.login(prompt=False))
    except Exception:  # a broken key or settings file: offline
        return False
