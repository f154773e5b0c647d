"""Draws a chart on axes of matplotlib, and writes pictures. Needs no torch."""

import io
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from longlag.files import replacing
from longlag.report.chart import MARKS, Chart, Line

# The palette of Okabe & Ito, safe for the colour-blind, and a brown.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8A5A2B")
BLUE, GREY = PALETTE[0], "#666666"
MARKERS = "os^Dv"
SHORT = 30  # a log axis whose ends are less than this factor apart
MARGIN = 0.03  # of the height: a line at the end of `y_range` does not lie on the frame


class Picture(Figure):
    """A figure that a notebook shows by itself."""

    def _repr_png_(self) -> bytes:
        return png(self)


def png(figure: Figure) -> bytes:
    """The picture as the bytes of a PNG file."""
    written = io.BytesIO()
    take_literally(figure)
    figure.savefig(written, dpi=100, format="png")
    return written.getvalue()


def plot(axes: Axes, chart: Chart, **legend: Any) -> None:
    """Draw the chart; its title is left to the caller.

    Args:
        axes: empty axes.
        chart: what to draw.
        legend: where the legend goes, as `Axes.legend` takes it.
    """
    if chart.y_scale == "decades":  # set before lines are drawn: their margins depend on the scale
        axes.set_yscale("symlog", linthresh=1)
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    elif chart.y_scale == "log":
        axes.set_yscale("log")
    for line in chart.lines:
        _line(axes, line)
    if chart.dashed:
        axes.plot([], [], ":", color=GREY, label=chart.dashed)
    if chart.at:
        x, name = chart.at
        axes.axvline(x, color=GREY, linewidth=0.8, linestyle=":", label=name)
    axes.set(xlabel=chart.x, ylabel=chart.y)
    if chart.y_range:
        low, high = chart.y_range
        axes.set_ylim(low - MARGIN * (high - low), high + MARGIN * (high - low))
    if chart.x_scale == "log":
        axes.set_xscale("log")
        number_lags(axes)
    if chart.y_scale == "log":
        _number(axes.yaxis)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8, **legend)


def _line(axes: Axes, line: Line) -> None:
    label = f"{line.name}{line.note}" if line.listed else None
    colour = GREY if line.style is None else PALETTE[line.style % len(PALETTE)]
    mark = "" if line.style is None else MARKERS[line.style % MARKS]
    if line.band:
        xs, low, high = zip(*line.band, strict=True)
        axes.fill_between(xs, low, high, color=colour, alpha=0.15, linewidth=0)
    if line.dots:
        behind = bool(line.points or line.band)  # where the dots are all there is, they are not faint
        looks: dict[str, Any] = {"alpha": 0.25 if behind else 0.8, "label": None if line.points else label}
        axes.plot(*zip(*line.dots, strict=True), mark or ".", color=colour, markersize=3, linestyle="none", **looks)
    if line.points:
        how = ("--" if line.style is None else ":") if line.dashed else "-"
        width = 0.8 if line.style is None else None
        points = zip(*line.points, strict=True)
        axes.plot(*points, mark + how, color=colour, markersize=4, linewidth=width, label=label)


def number_lags(axes: Axes) -> None:
    """Label the lag axis 1, 3, 10, 30, 100, without minor ticks: these would take a third of the drawing time."""
    _number(axes.xaxis)


def _number(axis: Axis) -> None:
    """Label a log axis with plain numbers: 1, 3, 10, 30, or where it is short also those between."""
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 3) if high > SHORT * low else (1, 2, 3, 5)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_locator(NullLocator())


def save(figure: Figure, path: Path) -> None:
    """Write a picture atomically."""
    take_literally(figure)
    with replacing(path) as temporary:
        quick: dict[str, Any] = {"pil_kwargs": {"compress_level": 1}} if path.suffix == ".png" else {}
        figure.savefig(temporary, dpi=150, format=path.suffix[1:], **quick)


def take_literally(figure: Figure) -> None:
    """Draw the words of a figure as they are: matplotlib would read what stands between two $ as a formula.

    Names of models and tasks come from records, which may come from anyone; a broken formula would be an error.
    """
    scales = [scale for axes in figure.axes for scale in (axes.xaxis, axes.yaxis)]
    ticks = [tick for scale in scales for tick in (*scale.majorTicks, *scale.minorTicks)]
    numbers = {id(text) for tick in ticks for text in tick.findobj(Text)} | {id(scale.offsetText) for scale in scales}
    for text in figure.findobj(Text):
        if id(text) not in numbers:
            text.set_parse_math(False)
