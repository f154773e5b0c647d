"""Update the tables and pictures of the pages from what was measured: python tools/readme.py [--check].

It writes docs/gap.png, docs/performance.svg, and the text between the <!-- NAME --> marks of a page, from docs/results,
docs/benchmarks and conf. With --check it changes nothing, and fails if a page or an SVG disagrees with the records.
"""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import configuration
import interval_coverage
import performance

from longlag.commands.errors import errors_in_one_line
from longlag.files import write_text
from longlag.report import comparison, pivot, table
from longlag.report import markdown as md
from longlag.report.groups import find, groups
from longlag.report.plot import save
from longlag.report.statistics import median_to_solve
from longlag.sweeps import horizon_table
from longlag.sweeps.horizon import read

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"


def gap() -> str:
    """The table of test accuracy by lag, each network tested at the lag it was trained at."""
    return table.by_lag(find([RESULTS / "gap"]))


def horizon() -> str:
    """The table of memory horizons."""
    return horizon_table.markdown(read(RESULTS / "horizon" / "horizon.json"))


def why() -> str:
    """The table of accuracy and solved runs by model and initialisation (rows), lag mode and clipping (columns)."""
    runs = find([RESULTS / "why"])
    return pivot.markdown(pivot.pivot(runs, ["model", "model.init"], ["lag_mode", "trainer.gradient_clip_val"]))


def initialisation() -> str:
    """The table of accuracy and solved runs by model and initialisation (rows) and lag (columns)."""
    return pivot.markdown(pivot.pivot(find([RESULTS / "initialisation"]), ["model", "model.init"], ["lag"]))


def initialisation_steps() -> str:
    """The median of the steps to solve, laid out in the same way."""
    runs = find([RESULTS / "initialisation"])
    lags = sorted({run["lag"] for run in runs})
    rows = []
    for model, init in sorted({(run["model"], run["config"]["model"]["init"]) for run in runs}):
        ours = [run for run in runs if (run["model"], run["config"]["model"]["init"]) == (model, init)]
        medians = [median_to_solve([run for run in ours if run["lag"] == lag]) for lag in lags]
        rows.append([md.code(model), md.code(init), *("beyond 600" if m is None else f"{m:.0f}" for m in medians)])
    return md.table(["model", "model.init", *(f"lag {lag}" for lag in lags)], rows)


class Block(NamedTuple):
    """A part of a page: the page, what it is made of, and the function that writes it."""

    page: str
    source: str
    write: Callable[[], str]


CELLS = "docs/benchmarks/cells.json"
BLOCKS = {
    "gap": Block("README.md", "docs/results/gap", gap),
    "horizon": Block("docs/usage.md", "docs/results/horizon", horizon),
    "initialisation": Block("docs/protocol.md", "docs/results/initialisation", initialisation),
    "initialisation_steps": Block("docs/protocol.md", "docs/results/initialisation", initialisation_steps),
    "why": Block("docs/why.md", "docs/results/why", why),
    "coverage": Block("docs/protocol.md", "tools/interval_coverage.py", interval_coverage.table),
    "where": Block("docs/performance.md", CELLS, performance.where),
    "bounds": Block("docs/performance.md", CELLS, performance.bounds),
    "training_long": Block("docs/performance.md", CELLS, partial(performance.times, "training", performance.LONG)),
    "stock": Block("docs/performance.md", CELLS, performance.stock),
    "training_short": Block("docs/performance.md", CELLS, partial(performance.times, "training", performance.SHORT)),
    "forward_long": Block("docs/performance.md", CELLS, partial(performance.times, "forward", performance.LONG)),
    "memory": Block("docs/performance.md", CELLS, performance.memory),
    **{name: Block("docs/configuration.md", "conf", write) for name, write in configuration.WRITERS.items()},
}
CHART = ROOT / "docs" / "performance.svg"


def rewritten(text: str, name: str, source: str, block: str) -> str:
    """The text of a page with a new block between its marks. Raises ValueError if the marks are missing."""
    opening, closing = f"<!-- {name}: written by tools/readme.py from {source} -->", f"<!-- /{name} -->"
    before, begun, rest = text.partition(opening)
    _, ended, after = rest.partition(closing)
    if not (begun and ended):
        raise ValueError(f"the page has no {opening} … {closing}; put these marks back")
    return f"{before}{opening}\n{block}{closing}{after}"


def main(arguments: list[str]) -> None:
    """Write the pages and the plot; with --check, only compare the pages."""
    if arguments not in ([], ["--check"]):
        sys.exit("usage: python tools/readme.py [--check]")
    for name, (page, source, block) in BLOCKS.items():
        text = (ROOT / page).read_text(encoding="utf-8")
        wanted = rewritten(text, name, source, block())
        if arguments and wanted != text:
            raise ValueError(f"{page} disagrees with {source}; run python tools/readme.py")
        if wanted != text:
            write_text(ROOT / page, wanted)
    chart = performance.chart()
    if arguments and (not CHART.exists() or CHART.read_text(encoding="utf-8") != chart):
        raise ValueError(f"{CHART.relative_to(ROOT)} disagrees with {CELLS}; run python tools/readme.py")
    if not arguments:
        write_text(CHART, chart)
        save(comparison.gap(groups(find([RESULTS / "gap"]))), ROOT / "docs" / "gap.png")


if __name__ == "__main__":
    with errors_in_one_line():
        main(sys.argv[1:])
