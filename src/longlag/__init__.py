"""longlag: a benchmark of how far back a sequence model can remember, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from longlag.run import TrainedRun


def load(folder: str | Path) -> TrainedRun:
    """The trained network, its task and its record, from a run's folder.

    Raises FileNotFoundError if the folder holds no run, or the run has no weights.
    """
    from longlag.run import load as load_run  # torch is imported only when something is loaded

    return load_run(folder)
