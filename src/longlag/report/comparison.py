"""Draws a set of runs: accuracy over lags, and beside it the gradient that explains it. Needs no torch."""

import statistics
from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from longlag.report.figures import GREY, decades
from longlag.report.groups import Group
from longlag.report.statistics import Estimate, mean
from longlag.report.table import tested_at, with_test

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # the Okabe-Ito palette
MARKERS = "os^Dv<>Pp"  # lines also differ in their markers, for readers who cannot tell the colours apart

Styles = dict[str, tuple[str, str]]


def gap(groups: Sequence[Group]) -> Figure:
    """Draw a row of two panels for each task.

    The left panel shows the mean accuracy with its 95% interval. If a task has runs at several lags, each network is
    tested at the lag that it was trained at; otherwise the networks of the only lag are tested at several lags. Faint
    dots are single seeds. Runs that were not tested are left out.

    The right panel shows log10 g(k) / g(0) over the distance k for the networks of the largest lag: solid before
    training, dotted after it. Where a line ends, the gradient is below resolution.

    Raises ValueError if no run has finished.
    """
    finished = [group for group in groups if group.finished]
    if not finished:
        raise ValueError("there is nothing to draw: none of the runs finished")
    styles = _styles(finished)
    tasks = sorted({group.task for group in finished})
    figure = Figure(figsize=(11, 4.4 * len(tasks)), layout="constrained")
    for task, (left, right) in zip(tasks, figure.subplots(len(tasks), 2, squeeze=False), strict=True):
        of_task = [group for group in finished if group.task == task]
        _accuracy(left, with_test(of_task), styles)
        _gradient(right, of_task, styles)
        left.set_title(task, loc="left", fontsize=11)
    return figure


def _accuracy(axes: Axes, groups: Sequence[Group], styles: Styles) -> None:
    lags = sorted({group.lag for group in groups})
    chance: dict[int, float] = {}
    for name, ours in _lines(groups):
        colour, marker = styles[name]
        if len(lags) > 1:
            means = {group.lag: mean(run["test"]["accuracy"] for run in group.finished) for group in ours}
            points = [
                (group.lag, run["test"]["accuracy"], run["test"]["chance"]) for group in ours for run in group.finished
            ]
        else:
            means = tested_at(ours[0].finished)
            curves = [point for run in ours[0].finished for point in run["lag_curve"]]
            points = [(point["lag"], point["accuracy"], point["chance"]) for point in curves]
        seeds = [(lag, accuracy) for lag, accuracy, _ in points]
        chance |= {lag: level for lag, _, level in points}
        _band(axes, means, colour)
        axes.plot(*zip(*seeds, strict=True), marker, color=colour, alpha=0.25, markersize=3, linestyle="none")
        values = [estimate.value for estimate in means.values()]
        axes.plot(list(means), values, marker + "-", color=colour, markersize=4, label=name + _solved(ours))
    if chance:
        axes.plot(*zip(*sorted(chance.items()), strict=True), "--", color=GREY, linewidth=0.8, label="chance")
    if len(lags) == 1:
        axes.axvline(lags[0], color=GREY, linewidth=0.8, linestyle=":", label=f"trained at {lags[0]}")
    axes.set(xlabel="trained and tested at lag (steps)" if len(lags) > 1 else "tested at lag (steps)")
    axes.set(ylabel="accuracy", ylim=(-0.03, 1.03))
    _finish(axes)


def _gradient(axes: Axes, groups: Sequence[Group], styles: Styles) -> None:
    lag = max(group.lag for group in groups)
    axes.set_yscale("symlog", linthresh=1)  # set before lines are drawn: their margins depend on the scale
    for name, ours in _lines([group for group in groups if group.lag == lag]):
        colour, marker = styles[name]
        measured = [list(decades(run, "log10_norm").values()) for run in ours[0].finished if run["gradient"]]
        for at, style in ((0, "-"), (-1, ":")) if measured else ():
            rows = [profiles[at] for profiles in measured]
            # Mean of log10 over seeds. Distance 0 is left out: it is 0 by definition and not on a logarithmic axis.
            shared = sorted(set.intersection(*map(set, rows)) - {0})
            means = {k: statistics.fmean(row[k] for row in rows) for k in shared}
            label = name if at == 0 else None
            axes.plot(list(means), list(means.values()), marker + style, color=colour, markersize=3, label=label)
    axes.plot([], [], ":", color=GREY, label="after training")
    axes.axvline(lag, color=GREY, linewidth=0.8, linestyle=":", label=f"lag {lag}")
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.set(xlabel="distance (steps)", ylabel="log10 gradient at distance / at 0")
    _finish(axes)


def _styles(groups: Sequence[Group]) -> Styles:
    """A colour and a marker for each model; they are the same in all panels."""
    names = dict.fromkeys(group.name for group in groups)
    return {name: (COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]) for i, name in enumerate(names)}


def _lines(groups: Sequence[Group]) -> Iterator[tuple[str, list[Group]]]:
    """For each model, its name and its groups in the order of their lags."""
    for name in dict.fromkeys(group.name for group in groups):
        yield name, [group for group in groups if group.name == name]


def _solved(groups: Sequence[Group]) -> str:
    """How many of the runs were solved, in words; empty if the task does not define it."""
    runs = [run for group in groups for run in group.finished]
    return f" ({sum(run['solved'] for run in runs)} of {len(runs)} solved)" if groups[0].solvable else ""


def _band(axes: Axes, means: dict[int, Estimate], colour: str) -> None:
    low = [each.value if each.low is None else each.low for each in means.values()]
    high = [each.value if each.high is None else each.high for each in means.values()]
    axes.fill_between(list(means), low, high, color=colour, alpha=0.15, linewidth=0)


def _finish(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)
