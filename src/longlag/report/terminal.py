"""What is shown in a terminal: the width of its tables, and a curve drawn with characters. Needs no torch."""

import sys

from rich.console import Console

from longlag.records import Record

WIDE = 200  # columns where the output goes to a file or a pipe: a table is not cut there


def wide_console() -> Console:
    """A console for wide tables: as wide as the terminal, if there is one."""
    return Console(width=None if sys.stdout.isatty() else WIDE)


def lag_curve(record: Record, color: bool) -> str:
    """The lag curve drawn with characters, for the terminal."""
    import uniplot  # slow to import

    curve = record["lag_curve"]
    lags = [point["lag"] for point in curve]
    plot: str = uniplot.plot_to_string(
        xs=[lags, lags],
        ys=[[point["chance"] for point in curve], [point["accuracy"] for point in curve]],
        x_as_log=True,
        lines=True,
        y_min=0.0,
        y_max=1.02,
        height=10,
        width=56,
        legend_labels=["chance", "accuracy"],
        color=color,
        character_set="braille",
        title="accuracy against lag (log scale)",
    )
    return plot
