"""The README's headline, from the records: python scripts/readme.py [--check].

Writes docs/gap.png and what stands between the README's <!-- gap --> marks, from docs/results/gap. --check changes
nothing and fails where they disagree.
"""

import sys
from pathlib import Path

from longlag.cli import errors_in_one_line
from longlag.records import write_text
from longlag.report import comparison, figures, table
from longlag.report.cells import cells, find

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results" / "gap"
README = ROOT / "README.md"
OPENING, CLOSING = "<!-- gap: written by scripts/readme.py from docs/results/gap -->", "<!-- /gap -->"


def rewritten(text: str, headline: str) -> str:
    """The README with the headline between its marks. Raises ValueError where they are missing."""
    before, opening, rest = text.partition(OPENING)
    _, closing, after = rest.partition(CLOSING)
    if not (opening and closing):
        raise ValueError(f"{README.name} has no {OPENING} … {CLOSING}")
    return f"{before}{OPENING}\n{headline}{CLOSING}{after}"


def main(arguments: list[str]) -> None:
    """Write, or check."""
    if arguments not in ([], ["--check"]):
        sys.exit("usage: python scripts/readme.py [--check]")
    runs = find([RESULTS])
    text = README.read_text(encoding="utf-8")
    wanted = rewritten(text, table.by_lag(runs))
    if arguments:
        if wanted != text:
            raise ValueError("README.md disagrees with docs/results/gap; run python scripts/readme.py")
        return
    write_text(README, wanted)
    figures.save(comparison.gap(cells(runs)), ROOT / "docs" / "gap.png")


if __name__ == "__main__":
    with errors_in_one_line():
        main(sys.argv[1:])
