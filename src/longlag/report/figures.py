"""Draws the pictures of a run from its record only. Needs no torch."""

import math
from collections import defaultdict
from pathlib import Path
from typing import Any, cast

import uniplot
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from longlag.files import replacing
from longlag.records import Record
from longlag.report.statistics import wilson

PICTURE = "lag_curve.png"
GRADIENT = "gradient.png"
PICTURES = (PICTURE, GRADIENT)  # file names in the folder of a run; not every run has all of them
BLUE, GREY = "#0072B2", "#666666"  # BLUE is of the Okabe-Ito palette, safe for the colour-blind


def lag_curve(record: Record) -> Figure:
    """Accuracy against the tested lag with its 95% interval, the accuracy of chance, and the trained lag.

    The interval is Wilson's with sequences as trials. It is conservative where a sequence has several scored steps.
    """
    lags = [point["lag"] for point in record["lag_curve"]]
    accuracy = [point["accuracy"] for point in record["lag_curve"]]
    bounds = [wilson(point["accuracy"], point["sequences"]) for point in record["lag_curve"]]
    low, high = [low for low, _ in bounds], [high for _, high in bounds]
    figure = Figure(figsize=(6.4, 4.0))
    axes = figure.subplots(gridspec_kw={"left": 0.1, "right": 0.98, "bottom": 0.13, "top": 0.92})
    axes.fill_between(lags, low, high, color=BLUE, alpha=0.2, linewidth=0, label="95% interval")
    axes.plot(lags, accuracy, "o-", color=BLUE, markersize=4, label=record["model"])
    axes.plot(lags, [point["chance"] for point in record["lag_curve"]], "--", color=GREY, label="chance")
    axes.axvline(record["lag"], color=GREY, linewidth=0.8, linestyle=":", label=f"trained at {record['lag']}")
    axes.set(xscale="log", ylim=(-0.03, 1.03), xlabel="lag (steps)", ylabel="accuracy")
    _number_lags(axes)
    axes.set_title(f"{record['model']} on {record['task']}, seed {record['seed']}", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="best")
    return figure


def gradient(record: Record) -> Figure:
    """The gradient over distance: on the left a line for each training step at which it was measured, right a heat map.

    Both show log10 g(k) / g(0) at distance k. Solid lines and the heat map show the gradient with respect to the core's
    inputs, dashed lines that with respect to the recurrent state, if any. A gap is a gradient below resolution.
    """
    inputs, states = decades(record, "log10_norm"), decades(record, "log10_state_norm")
    distances = sorted({distance for row in inputs.values() for distance in row})
    figure = Figure(figsize=(9.6, 4.0))
    margins = {"left": 0.085, "right": 0.95, "bottom": 0.19, "top": 0.92, "wspace": 0.25}
    lines, heat = figure.subplots(1, 2, width_ratios=[3, 2.4], gridspec_kw=margins)
    lines.set_xlim(0.8, 1.25 * max(record["lag"], *distances))
    lines.set_xscale("log")
    for number, (step, row) in enumerate(inputs.items()):
        colour = colormaps["viridis"](number / max(1, len(inputs) - 1) * 0.9)
        far = [distance for distance in row if distance]
        lines.plot(far, [row[k] for k in far], "o-", color=colour, markersize=3, label=f"step {step}")
        if step in states:
            lines.plot(far, [states[step][k] for k in far], "--", color=colour, linewidth=0.8)
    if states:
        lines.plot([], [], "--", color=GREY, linewidth=0.8, label="in the state")
    lines.axvline(record["lag"], color=GREY, linewidth=0.8, linestyle=":", label=f"lag {record['lag']}")
    lines.set(xlabel="distance (steps)", ylabel="log10 g(distance) / g(0)")
    _number_lags(lines)
    lines.legend(frameon=False, fontsize=8)
    lines.spines[["top", "right"]].set_visible(False)
    cells = [[row.get(distance, math.nan) for row in inputs.values()] for distance in distances]
    image = heat.imshow(cells, aspect="auto", origin="lower", cmap="viridis")
    heat.set_xticks(range(len(inputs)), [str(step) for step in inputs], rotation=45)
    heat.set_yticks(range(len(distances)), [str(distance) for distance in distances])
    heat.set(xlabel="training step", ylabel="distance (steps)")
    figure.colorbar(image, ax=heat, label="log10 g / g(0)", pad=0.03)
    title = f"gradient over distance: {record['model']} on {record['task']}, lag {record['lag']}, seed {record['seed']}"
    figure.suptitle(title, fontsize=10)
    return figure


def _number_lags(axes: Axes) -> None:
    """Label the lag axis 1, 3, 10, 30, 100, without minor ticks: these would take a third of the drawing time."""
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def decades(record: Record, what: str) -> dict[int, dict[int, float]]:
    """log10 g(k) / g(0) by training step, then by distance k; nan where the gradient is below resolution.

    Args:
        record: of the run.
        what: the key of the gradient, `log10_norm` or `log10_state_norm`.
    """
    rows: dict[int, dict[int, float]] = defaultdict(dict)
    for point in sorted(record["gradient"], key=lambda point: (point["step"], point["distance"])):
        if what in point:
            norm = cast("Any", point)[what]
            rows[point["step"]][point["distance"]] = math.nan if norm is None else norm
    return {step: {distance: norm - row[0] for distance, norm in row.items()} for step, row in rows.items()}


def draw(record: Record, folder: Path) -> None:
    """Write those pictures of a run for which its record has data."""
    if record["lag_curve"]:
        save(lag_curve(record), folder / PICTURE)
    if record["gradient"]:
        save(gradient(record), folder / GRADIENT)


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


def terminal_lag_curve(record: Record, color: bool) -> str:
    """The lag curve drawn with characters, for the terminal."""
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
