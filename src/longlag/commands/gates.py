"""Draw what the gates of a trained LSTM or GRU do: longlag gates RUN_FOLDER.

Replays the first validation sequence with the trained weights and writes gates.png to the folder: every gate and the
state over time, with the units sorted by time constant; below are the symbols shown, and ? where the network is asked.
With --wandb, the picture is also uploaded to the run in W&B.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from longlag.files import shown


def main(words: Sequence[str]) -> None:
    """Load the network, replay the sequence, and draw the gates."""
    parser = argparse.ArgumentParser(
        prog="longlag gates", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="RUN_FOLDER")
    parser.add_argument("--wandb", metavar="[ENTITY/]PROJECT", help="upload the picture to the run in this W&B project")
    arguments = parser.parse_args(words)
    folder = arguments.folder
    from longlag import load
    from longlag.measure.gates import replay
    from longlag.report import gates
    from longlag.report.plot import save
    from longlag.stream import Seeds
    from longlag.tracking import wandb_runs

    network, task, record = load(folder)
    picture = folder / gates.PICTURE
    save(gates.gates(record, replay(network, task, Seeds(record["seed"], record["config"]["stream"]))), picture)
    if arguments.wandb:
        wandb_runs.add_picture(folder, record, picture, arguments.wandb)
    Console().print(f"picture  {shown(picture)}", highlight=False, soft_wrap=True)
