"""Pictures of searches for memory horizons: all trials with the fitted curve, and the horizon over a setting."""

import math
from collections import Counter
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from longlag.report.chart import Chart, Line, Point
from longlag.report.plot import Picture, plot
from longlag.sweeps.horizon import CENSORED, HIGH, LOW, SOLVED, UNSOLVED, Trial, again
from longlag.sweeps.horizon_table import horizon, interval, names

WIDE = 3  # panels in a row
POINTS = 60  # of a fitted curve
TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
STACKED = 0.035  # between trials of one lag that came to the same
AT = {SOLVED: 1.04, UNSOLVED: -0.04, CENSORED: 0.5}  # heights of the first such trial at a lag
UPWARDS = {SOLVED: 1, UNSOLVED: -1, CENSORED: 1}


def trials(found: Sequence[dict[str, Any]]) -> Figure:
    """A panel for each search: its trials, and P(solved) over the lag with its 95% interval."""
    rows = math.ceil(len(found) / WIDE)
    columns = min(len(found), WIDE)
    figure = Picture(figsize=(max(5.0, 4.2 * columns), 3.6 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, name, one in zip(panels, names(found), found, strict=False):
        plot(axes, panel(one), loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
        axes.set_yticks(TICKS)
        axes.set_title(f"{name} on {one['task']}: {horizon(one)} ({interval(one)})", loc="left", fontsize=9)
    for axes in panels[len(found) :]:
        axes.set_axis_off()
    return figure


def panel(found: dict[str, Any]) -> Chart:
    """The trials of one search above, below and (censored) between; one over the other where they share a lag."""
    told = [Trial(**one) for one in found["trials"]]
    groups = {outcome: [one.lag for one in told if one.outcome == outcome] for outcome in AT}
    dots = [
        Line(f"{outcome} ({len(lags)})", number, (), dots=_stacked(lags, outcome))
        for number, (outcome, lags) in enumerate(groups.items())
        if lags
    ]
    value = found["memory_horizon"]
    chart = Chart("Trials", "lag (steps)", "P(solved)", [_curve(found), *dots], y_range=_heights(groups))
    return chart._replace(at=(value, f"memory horizon {value}")) if value else chart


def _curve(found: dict[str, Any]) -> Line:
    """The expected curve if no censored trial had been solved, from the lower to the upper end of what they allow."""
    search, tried = again(found), [one["lag"] for one in found["trials"]]
    lags = np.geomspace(min(tried), max(*tried, min(tried) + 1), POINTS).tolist()
    low = search.curves.quantiles(search.if_unsolved, lags, LOW)
    high = search.curves.quantiles(search.if_solved, lags, HIGH)
    middle = search.curves.mean(search.if_unsolved, lags)
    points, band = list(zip(lags, middle.tolist(), strict=True)), list(zip(lags, low, high, strict=True))
    return Line("fit, falling with the lag, 95% interval", None, points, band)


def _stacked(lags: Sequence[int], outcome: str) -> list[Point]:
    seen: Counter[int] = Counter()
    points = []
    for lag in sorted(lags):
        points.append((float(lag), AT[outcome] + UPWARDS[outcome] * STACKED * seen[lag]))
        seen[lag] += 1
    return points


def _heights(groups: dict[str, list[int]]) -> tuple[float, float]:
    """The range of the axis, with room for the highest stack at either end."""
    most = {outcome: max(Counter(lags).values(), default=1) for outcome, lags in groups.items()}
    return AT[UNSOLVED] - STACKED * most[UNSOLVED], AT[SOLVED] + STACKED * most[SOLVED]


def over(found: Sequence[dict[str, Any]]) -> Figure:
    """The horizon and its interval against the setting that the searches went over."""
    figure = Picture(figsize=(6.4, 4.4), layout="constrained")
    plot(figure.subplots(), against(found), loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)
    return figure


def against(found: Sequence[dict[str, Any]]) -> Chart:
    """A line for each model or other setting. Where the horizon is not known, its interval stands alone."""
    (setting,) = found[0]["over"]
    groups: dict[str, list[dict[str, Any]]] = {}
    for name, one in zip(names(found, without=setting), found, strict=True):
        groups.setdefault(name, []).append(one)
    lines = [_over(name, number, setting, ours) for number, (name, ours) in enumerate(groups.items())]
    scale = "log" if all(one["over"][setting] > 0 for one in found) else "linear"
    return Chart(f"Memory horizon over {setting}", setting, "memory horizon (steps)", lines, scale, "log")


def _over(name: str, style: int, setting: str, found: Sequence[dict[str, Any]]) -> Line:
    """One line; an end of an interval that is open has no dot, and is drawn where the lags that may be tried end."""
    ordered = sorted(((one["over"][setting], one) for one in found), key=itemgetter(0))
    points = [(x, one["memory_horizon"]) for x, one in ordered if one["memory_horizon"]]
    dots = [(x, end) for x, one in ordered for end in one["interval"] if end]
    band = [(x, one["interval"][0] or one["first_lag"], one["interval"][1] or one["max_lag"]) for x, one in ordered]
    return Line(name, style, points, band, dots)
