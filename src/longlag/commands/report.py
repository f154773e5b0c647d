"""The report of a set of runs: longlag report FOLDER…

Every record.json below the folders goes into one self-contained page: accuracy over lag beside the gradient over
distance, training lags against test lags, learning curves, cost, the table, and what was run. --figures writes the
figure for papers (PNG and PDF), the table (Markdown and CSV) and every point of the charts (CSV) to a folder. --wandb
uploads the runs that W&B does not have yet and creates a W&B Report of them, which the next call updates.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from longlag.files import shown, write_text
from longlag.report import comparison, page, table
from longlag.report.groups import find, groups
from longlag.report.plot import save


def main(words: Sequence[str]) -> None:
    """Read the records, write the report, and print its path."""
    parser = argparse.ArgumentParser(
        prog="longlag report", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", metavar="FOLDER", help="a run, a sweep, or any folder of them")
    parser.add_argument("--to", metavar="FILE", type=Path, help="the page; default: report.html in the first folder")
    parser.add_argument("--title", default="longlag report", help="heading of the page")
    parser.add_argument("--figures", metavar="DIR", type=Path, help="write figures, tables and points to this folder")
    parser.add_argument("--wandb", metavar="ENTITY/PROJECT", help="create or update a W&B report in this project")
    arguments = parser.parse_args(words)
    runs = find(arguments.folders)
    if arguments.wandb:
        from longlag.tracking import wandb_report

        wandb_report.target(arguments.wandb)  # check the target before anything is written
    to = arguments.to or Path(arguments.folders[0]) / "report.html"
    if arguments.figures:
        arguments.figures.mkdir(parents=True, exist_ok=True)
    page.write(runs, to, arguments.title)
    print(f"report   {shown(to.absolute())}")
    if arguments.figures:
        for name in ("gap.png", "gap.pdf"):
            save(comparison.gap(groups(runs)), arguments.figures / name)
        rows = table.rows(runs)
        texts = {
            "table.md": table.markdown(rows),
            "table.csv": table.comma_separated(rows),
            "points.csv": table.points(runs),
        }
        for name, text in texts.items():
            write_text(arguments.figures / name, text)
        print(f"figures  {shown(arguments.figures.absolute())}")
    if arguments.wandb:
        address = wandb_report.publish(runs, arguments.wandb, arguments.title, to.with_suffix(".wandb.json"))
        print(f"W&B      {address}")
