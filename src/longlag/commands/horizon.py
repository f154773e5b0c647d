"""Find how far back a model can learn to remember: longlag horizon model=lstm task=copy [key=value …].

Finds `memory_horizon`, the largest lag at which the model trains to the solved criterion within a budget: by doubling
the lag, then by bisection on a log scale. Several models or settings (model=rnn,lstm,gru) are searched in parallel.

    first_lag=4 max_lag=2048 seeds=3 resolution=1.1    settings of the search
    workers=2                                          how many trials run at once
    budget.sequences=16000 budget.seconds=60           settings of each trial; any other of `longlag train`, too
    resume=FOLDER                                      resume a search that was stopped

Writes a record for each trial and horizon.json to a folder under outputs/; the last line printed is the horizon.
"""

import sys
from collections.abc import Sequence

from longlag.commands import train

SHORT = {name: f"hydra.sweeper.{name}" for name in ("first_lag", "max_lag", "seeds", "resolution")}
SHORT["workers"] = "hydra.launcher.workers"


def translated(arguments: Sequence[str]) -> list[str]:
    """Translate the arguments into those of `longlag train`."""
    pairs = (argument.partition("=") for argument in arguments)
    given = [SHORT.get(name, name) + equals + value for name, equals, value in pairs]
    goes_on = any(word.startswith("resume=") for word in given)  # the folder holds the command of the search
    return given if goes_on else ["-m", "experiment=horizon", *given]


def main(words: Sequence[str]) -> None:
    """Run the search."""
    if {"-h", "--help"} & set(words):
        sys.stdout.write(f"{__doc__}\n")
        return
    train.main(translated(words))
