"""How far back can a model learn to remember: python scripts/horizon.py model=lstm task=copy [key=value …].

Finds `memory_horizon`, the largest lag at which the model trains to the solved criterion within a budget: doubling,
then bisection on a log scale. Several models or settings (model=rnn,lstm,gru) are searched side by side.

    first_lag=4 max_lag=2048 seeds=3 resolution=1.1    of the search
    workers=2                                          trials at once
    budget.sequences=16000 budget.seconds=60           of a trial; any other setting of train.py, too
    resume=FOLDER                                      go on with a search that was stopped

Leaves a record for each trial and horizon.json in a folder under outputs/; the last line says the horizon.
"""

import sys

from longlag.commands import train

SHORT = {name: f"hydra.sweeper.{name}" for name in ("first_lag", "max_lag", "seeds", "resolution")}
SHORT["workers"] = "hydra.launcher.workers"


def words(arguments: list[str]) -> list[str]:
    """The arguments as train.py takes them."""
    pairs = (argument.partition("=") for argument in arguments)
    given = [SHORT.get(name, name) + equals + value for name, equals, value in pairs]
    goes_on = any(word.startswith("resume=") for word in given)  # with the command that is kept in the folder
    return given if goes_on else ["-m", "experiment=horizon", *given]


def command() -> None:
    """The command itself: `main`, with errors in one line."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        sys.stdout.write(f"{__doc__}\n")
        return
    sys.argv[1:] = words(sys.argv[1:])
    train.main()
