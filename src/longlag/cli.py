"""The command `longlag`: each subcommand is a module of `longlag.commands`, imported when it is called."""

import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

COMMANDS = {
    "train": "train one run, or with -m every combination of several settings",
    "table": "print the table of a set of runs",
    "report": "write the page of a set of runs, with all charts",
    "evaluate": "test the saved weights of a run at other lags",
    "gates": "draw what the gates of a trained LSTM or GRU do",
    "horizon": "find the largest lag at which a model can be trained",
    "verify": "compare published values with ours",
    "list": "list the models, tasks, experiments or published values",
}
QUERY = ["-sc", "query=bash"]  # how the shell asks for completions
HELP = f"""longlag: how far back can a sequence model remember, and why?

{chr(10).join(f"  longlag {name:<9}{words}" for name, words in COMMANDS.items())}

  longlag train model=lstm task=copy lag=100               one run
  longlag train -m model=rnn,lstm,gru lag=10,100 seed=0,1  a sweep: every combination
  longlag COMMAND --help                                   what a command takes
  longlag --version

Settings (key=value) without a command start a run: longlag model=gru lag=30. A run writes its results to a folder under
outputs/.
"""


def main(words: Sequence[str] | None = None) -> None:
    """Run the command.

    Args:
        words: the arguments; by default those of this process.
    """
    words = list(sys.argv[1:] if words is None else words)
    if not words or words[0] in ("-h", "--help", "help"):
        sys.stdout.write(HELP)
    elif words[0] in ("-V", "--version"):
        sys.stdout.write(f"longlag {release()}\n")
    elif words in (QUERY, ["train", *QUERY]):
        _complete(os.environ.get("COMP_LINE", ""))
    else:
        _call(*_subcommand(words))


def _call(name: str, words: Sequence[str]) -> None:
    from longlag.commands.errors import errors_in_one_line

    with errors_in_one_line(words):
        if name not in COMMANDS:
            near = get_close_matches(name, COMMANDS, 1)
            meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}"
            raise ValueError(f"{name}: there is no such command; {meant}")
        code = import_module(f"longlag.commands.{name}").main(words)
    if code:
        sys.exit(code)


def _complete(line: str) -> None:
    """Print the possible next words of a command line, for the shell. Hydra knows those of `train`.

    Nothing is printed for a subcommand that takes a folder: the shell then completes file names.
    """
    program, *given = line.split() or ["longlag"]
    if given and given[0] == "train.py":  # the line is python train.py …
        program, given = f"{program} train.py", ["train", *given[1:]]
    done = given if line.endswith(" ") else given[:-1]
    if not done:
        sys.stdout.write(f"{' '.join(COMMANDS)}\n")
    elif done[0] == "list":
        from longlag.commands.list import FOLDERS

        sys.stdout.write(f"{' '.join(FOLDERS)}\n")
    if not done or done[0] in ("train", "horizon") or "=" in done[0] or done[0].startswith("-"):
        rest = given[1:] if done and done[0] in ("train", "horizon") else given
        os.environ["COMP_LINE"] = " ".join([program, *rest]) + " " * line.endswith(" ")
        _call("train", QUERY)


def _subcommand(words: Sequence[str]) -> tuple[str, Sequence[str]]:
    """The name of the subcommand and its arguments. Settings and options without a name belong to `train`."""
    first = words[0]
    return ("train", words) if "=" in first or first.startswith(("-", "+", "~")) else (first, words[1:])


def release() -> str:
    """The version of the installed package; `unknown` if it is not installed."""
    try:
        return version("longlag")
    except PackageNotFoundError:
        return "unknown"
