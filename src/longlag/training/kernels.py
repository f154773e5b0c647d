"""Chooses which kernels compute torch's own recurrent layers, and notes which implementation of the core really ran."""

import logging
from typing import Any

import pytorch_lightning as pl
from torch import nn

from longlag.models.kernels import native
from longlag.models.recurrent import Recurrent
from longlag.settings import sweep

log = logging.getLogger(__name__)


class Kernels(pl.Callback):
    """Applies `runtime.kernels` to a core, and asks it during the training what ran.

    A core without that choice ignores it, because sweeps mix models; a single run says so in one line.

    Args:
        core: the core of the network.
        chosen: `library` or `native`; see `models/recurrent.py`.

    Attributes:
        ran: `library` or `native` for torch's layers, `native`, `fused` or `reference` for the cells from scratch; None
            for a core with one implementation, and before the training.
    """

    def __init__(self, core: nn.Module, chosen: str):
        self.core, self.chosen = core, chosen
        self.ran: str | None = None
        if isinstance(core, Recurrent):
            core.kernels = chosen

    def on_train_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Note what runs, on the device and in the precision of the training."""
        self.ran = getattr(self.core, "ran", None)
        if self.chosen == "native" and self.ran != "native" and trainer.is_global_zero:
            self._say_why()

    def on_fit_end(self, *_: Any) -> None:
        """Note what runs if there was nothing left to train."""
        self.ran = getattr(self.core, "ran", None)

    def noted(self) -> dict[str, str]:
        """The entry for `environment` in the record; empty for a core with one implementation."""
        return {} if self.ran is None else {"kernels": self.ran}

    def _say_why(self) -> None:
        if not isinstance(self.core, Recurrent):
            if sweep() is None:
                log.info("runtime.kernels=native has no effect on this model: it is for rnn, lstm and gru")
        elif native.kernels() is not None:  # without them, the reason has been logged
            log.info("runtime.kernels=native is for float32 on the CPU: this run uses the kernels of torch")
