"""Find how far back a model can learn to remember: longlag horizon model=lstm task=copy [key=value …].

Finds `memory_horizon`, the lag at which half of the runs train to the solved criterion within a budget of sequences,
with its 95% interval. Trials go where they say most. Several models or settings (model=rnn,lstm,gru) are searched in
parallel.

    first_lag=4 max_lag=2048                           the lags that may be tried
    trials=24                                          how many trials a search takes at most
    resolution=1.2                                     it ends sooner once its interval is within this factor
    at_once=2                                          how many trials of one search run side by side
    over=model.hidden_size=16,32,64,128                a search for each value; draws the horizon against the setting
    workers=2                                          how many trials run at once, of all searches together
    budget.sequences=16000                             settings of each trial; any other of `longlag train`, too
    budget.seconds=600                                 limit on the cost of a trial: one that reaches it is censored
    resume=FOLDER                                      resume a search that was stopped

Writes a record for each trial, horizon.json and horizon.png to a folder under outputs/; the last line printed is the
horizon.
"""

import sys
from collections.abc import Sequence

from longlag.commands import train

OURS = ("first_lag", "max_lag", "trials", "resolution", "at_once")
SHORT = {**{name: f"hydra.sweeper.{name}" for name in OURS}, "workers": "hydra.launcher.workers"}


def translated(arguments: Sequence[str]) -> list[str]:
    """Translate the arguments into those of `longlag train`. Raises ValueError for one that cannot be."""
    named = [argument.partition("=")[2].partition("=")[0] for argument in arguments if argument.startswith("over=")]
    if len(named) > 1:
        raise ValueError(f"over names one setting, got {' and '.join(named)}")
    given = [word for argument in arguments for word in _words(argument)]
    goes_on = any(word.startswith("resume=") for word in given)  # the folder holds the command of the search
    return given if goes_on else ["-m", "experiment=horizon", *given]


def _words(argument: str) -> list[str]:
    name, equals, value = argument.partition("=")
    if name == "seeds":
        raise ValueError("seeds: each trial has a seed of its own; give trials=24 for how many there may be")
    if name == "over":
        setting, values, _ = value.partition("=")
        if not (setting and values):
            raise ValueError("over must name a setting and its values, such as over=model.hidden_size=16,32,64")
        return [f"hydra.sweeper.over={setting}", value]
    return [SHORT.get(name, name) + equals + value]


def main(words: Sequence[str]) -> None:
    """Run the search."""
    if {"-h", "--help"} & set(words):
        sys.stdout.write(f"{__doc__}\n")
        return
    train.main(translated(words))
