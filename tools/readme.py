"""Update the tables and the plot of README.md and docs/why.md from the records: python tools/readme.py [--check].

It writes docs/gap.png, and the text between the <!-- NAME --> marks of a page from docs/results/NAME. With --check it
changes nothing, and fails if a page disagrees with the records.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

from longlag.commands.errors import errors_in_one_line
from longlag.files import write_text
from longlag.report import comparison, pivot, table
from longlag.report.groups import find, groups
from longlag.report.plot import save
from longlag.sweeps.horizon import markdown

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"


def gap() -> str:
    """The table of test accuracy by lag, each network tested at the lag it was trained at."""
    return table.by_lag(find([RESULTS / "gap"]))


def horizon() -> str:
    """The table of memory horizons."""
    return markdown(json.loads((RESULTS / "horizon" / "horizon.json").read_text(encoding="utf-8")))


def why() -> str:
    """The table of accuracy and solved runs by model and initialisation (rows), lag mode and clipping (columns)."""
    runs = find([RESULTS / "why"])
    return pivot.markdown(pivot.pivot(runs, ["model", "model.init"], ["lag_mode", "trainer.gradient_clip_val"]))


BLOCKS: dict[str, tuple[str, Callable[[], str]]] = {  # name: (the page it is in, the function that writes it)
    "gap": ("README.md", gap),
    "horizon": ("README.md", horizon),
    "why": ("docs/why.md", why),
}


def rewritten(text: str, name: str, block: str) -> str:
    """The text of a page with a new block between its marks. Raises ValueError if the marks are missing."""
    opening, closing = f"<!-- {name}: written by tools/readme.py from docs/results/{name} -->", f"<!-- /{name} -->"
    before, begun, rest = text.partition(opening)
    _, ended, after = rest.partition(closing)
    if not (begun and ended):
        raise ValueError(f"the page has no {opening} … {closing}; put these marks back")
    return f"{before}{opening}\n{block}{closing}{after}"


def main(arguments: list[str]) -> None:
    """Write the pages and the plot; with --check, only compare the pages."""
    if arguments not in ([], ["--check"]):
        sys.exit("usage: python tools/readme.py [--check]")
    for name, (page, block) in BLOCKS.items():
        text = (ROOT / page).read_text(encoding="utf-8")
        wanted = rewritten(text, name, block())
        if arguments and wanted != text:
            raise ValueError(f"{page} disagrees with docs/results/{name}; run python tools/readme.py")
        if wanted != text:
            write_text(ROOT / page, wanted)
    if not arguments:
        save(comparison.gap(groups(find([RESULTS / "gap"]))), ROOT / "docs" / "gap.png")


if __name__ == "__main__":
    with errors_in_one_line():
        main(sys.argv[1:])
