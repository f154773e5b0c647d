"""Draws the pictures of a run from its record only. Needs no torch."""

import math
from collections import defaultdict
from pathlib import Path
from typing import Any, cast

from matplotlib import colormaps
from matplotlib.figure import Figure

from longlag.records import Record
from longlag.report.chart import Chart, Line
from longlag.report.plot import GREY, Picture, number_lags, plot, save
from longlag.report.statistics import wilson

PICTURE = "lag_curve.png"
GRADIENT = "gradient.png"
PICTURES = (PICTURE, GRADIENT)  # file names in the folder of a run; not every run has all of them


def lag_curve(record: Record) -> Figure:
    """Accuracy against the tested lag with its 95% interval, the accuracy of chance, and the trained lag.

    The interval is Wilson's with sequences as trials. It is conservative where a sequence has several scored steps.
    """
    curve, trained = record["lag_curve"], record["lag"]
    band = [(at["lag"], *wilson(at["accuracy"], at["sequences"])) for at in curve]
    accuracy = [(at["lag"], at["accuracy"]) for at in curve]
    lines = [
        Line(record["model"], 0, accuracy, band, note=" with 95% interval"),
        Line("chance", None, [(at["lag"], at["chance"]) for at in curve], dashed=True),
    ]
    title = f"{record['model']} on {record['task']}, seed {record['seed']}"
    chart = Chart(title, "lag (steps)", "accuracy", lines, y_range=(0, 1), at=(trained, f"trained at {trained}"))
    figure = Picture(figsize=(6.4, 4.0))
    axes = figure.subplots(gridspec_kw={"left": 0.1, "right": 0.98, "bottom": 0.13, "top": 0.92})
    plot(axes, chart, loc="best")
    axes.set_title(title, fontsize=10)
    return figure


def gradient(record: Record) -> Figure:
    """The gradient over distance: on the left a line for each training step at which it was measured, right a heat map.

    Both show log10 g(k) / g(0) at distance k. Solid lines and the heat map show the gradient with respect to the core's
    inputs, dashed lines that with respect to the recurrent state, if any. A gap is a gradient below resolution.
    """
    inputs, states = decades(record, "log10_norm"), decades(record, "log10_state_norm")
    distances = sorted({distance for row in inputs.values() for distance in row})
    figure = Picture(figsize=(9.6, 4.0))
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
    number_lags(lines)
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
