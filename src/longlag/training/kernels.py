"""Chooses which kernels compute a core, and notes which implementation of it really ran."""

import logging
from typing import Any

import pytorch_lightning as pl
from torch import nn

from longlag.models.kernels import native
from longlag.models.kernels.choice import Choice
from longlag.settings import sweep

log = logging.getLogger(__name__)

MODELS = "rnn, lstm, gru and transformer"


class Kernels(pl.Callback):
    """Applies `runtime.kernels` to a core, and asks it during the training what ran.

    A core without that choice ignores it, because sweeps mix models; a single run says so in one line.

    Args:
        core: the core of the network.
        chosen: `library` or `native`; see `models/kernels/choice.py`.

    Attributes:
        ran: `library` or `native` for a core with that choice, `native`, `fused` or `reference` for the cells from
            scratch; None for a core with one implementation, and before the training.
    """

    def __init__(self, core: nn.Module, chosen: str):
        self.core, self.chosen = core, chosen
        self.ran: str | None = None
        self._has_run = False
        if isinstance(core, Choice):
            core.kernels = chosen

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Note what ran at the first step, on the device and in the precision of the training."""
        if self._has_run:
            return
        self.ran, self._has_run = self._asked(), True
        if self.chosen == "native" and self.ran != "native" and trainer.is_global_zero:
            self._say_why()

    def on_fit_end(self, *_: Any) -> None:
        """Note what runs if there was nothing left to train."""
        self.ran = self.ran or self._asked()

    def noted(self) -> dict[str, str]:
        """The entry for `environment` in the record; empty for a core with one implementation."""
        return {} if self.ran is None else {"kernels": self.ran}

    def _asked(self) -> str | None:
        ran = getattr(self.core, "ran", None)
        return ran if isinstance(ran, str) else None  # a user's core may mean something else by that name

    def _say_why(self) -> None:
        if not isinstance(self.core, Choice):
            if sweep() is None:
                log.info("runtime.kernels=native has no effect on this model: it is for %s", MODELS)
        elif native.kernels() is not None:  # without them, the reason has been logged
            log.info("runtime.kernels=native is for float32 on the CPU: this run uses the kernels of torch")
