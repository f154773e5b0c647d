"""Pictures of a run, from its record alone. Needs no torch."""

from pathlib import Path

import uniplot
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from longlag.records import Record, replacing
from longlag.report.statistics import wilson

PICTURE = "lag_curve.png"
FORECASTS = "forecasts.png"
PICTURES = (PICTURE, FORECASTS)  # of a run, where it has them
BLUE, GREY = "#0072B2", "#666666"  # of the Okabe-Ito palette, safe for the colour-blind


def lag_curve(record: Record) -> Figure:
    """Accuracy against lag, with its 95% interval, the chance line, and the lag it was trained at.

    The interval is Wilson's over sequences; with several symbols a sequence it is on the wide side.
    """
    lags = [point["lag"] for point in record["lag_curve"]]
    accuracy = [point["accuracy"] for point in record["lag_curve"]]
    bounds = [wilson(point["accuracy"], point["sequences"]) for point in record["lag_curve"]]
    low, high = [low for low, _ in bounds], [high for _, high in bounds]
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    axes.fill_between(lags, low, high, color=BLUE, alpha=0.2, linewidth=0, label="95% interval")
    axes.plot(lags, accuracy, "o-", color=BLUE, markersize=4, label=record["model"])
    axes.plot(lags, [point["chance"] for point in record["lag_curve"]], "--", color=GREY, label="chance")
    axes.axvline(record["lag"], color=GREY, linewidth=0.8, linestyle=":", label=f"trained at {record['lag']}")
    axes.set(xscale="log", ylim=(-0.03, 1.03), xlabel="lag (steps)", ylabel="accuracy")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.set_title(f"{record['model']} on {record['task']}, seed {record['seed']}", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="best")
    return figure


def forecasts(record: Record) -> Figure:
    """What the network saw, how the wave went on, and what it forecast."""
    shown = record["example"]["forecasts"]
    figure = Figure(figsize=(6.4, 1.6 * len(shown)), layout="constrained")
    rows = figure.subplots(len(shown), sharex=True, squeeze=False)[:, 0]
    for axes, one in zip(rows, shown, strict=True):
        start = len(one["observed"])
        blank = range(start, start + len(one["truth"]))
        axes.plot(one["observed"], ".", color=GREY, markersize=3, label="observed")
        axes.plot(blank, one["truth"], "-", color=GREY, linewidth=1, label="truth")
        axes.plot(blank, one["forecast"], ".-", color=BLUE, markersize=4, linewidth=1, label="forecast")
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*rows[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    rows[0].set_title(f"{record['model']} on {record['task']}, lag {record['lag']}, seed {record['seed']}", fontsize=10)
    rows[-1].set_xlabel("step")
    return figure


def draw(record: Record, folder: Path) -> None:
    """Write the pictures of a run."""
    save(lag_curve(record), folder / PICTURE)
    if "forecasts" in record["example"]:
        save(forecasts(record), folder / FORECASTS)


def save(figure: Figure, path: Path) -> None:
    """Write a picture atomically."""
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=150, format=path.suffix[1:])


def terminal_lag_curve(record: Record, color: bool) -> str:
    """The same curve in characters, for the terminal."""
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
