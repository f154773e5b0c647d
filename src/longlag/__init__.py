"""longlag: a benchmark of how far back a sequence model can remember, and why.

    import longlag

    run = longlag.train(model="lstm", task="copy", lag=100)
    runs = longlag.sweep(model=["rnn", "lstm"], lag=[10, 100], seed=range(3), workers=2)

`train` and `sweep` do what `python train.py` does; `load` opens the folder of a run, `find` every run below a folder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from longlag.api import find, load, sweep, train
    from longlag.runs import Run, Runs

__all__ = ["Run", "Runs", "find", "load", "sweep", "train"]


def __getattr__(name: str) -> Any:
    """Import what is asked for: `import longlag` alone must not pay for torch."""
    if name == "__version__":
        from longlag.cli import release

        return release()
    if name in __all__:
        from longlag import api

        return getattr(api, name)
    raise AttributeError(f"module 'longlag' has no attribute {name!r}")
