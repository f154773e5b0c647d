"""What there is to show of the groups of one task: each panel a chart. Needs no torch."""

import statistics
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

from longlag.records import Record
from longlag.report.chart import Chart, Line, Point
from longlag.report.figures import decades
from longlag.report.groups import Group
from longlag.report.statistics import Estimate, accuracy, median_to_solve, success_rate
from longlag.report.table import tested_at, with_test

Styles = dict[str, int]  # the number of each model, the same in every panel


def styles(groups: Sequence[Group]) -> Styles:
    """A number for the colour and the mark of each model."""
    return {name: number for number, name in enumerate(dict.fromkeys(group.name for group in groups))}


def headline(groups: Sequence[Group], style: Styles) -> Chart:
    """Accuracy over lags: of networks trained at each, or, where there is one, of its networks tested at each."""
    return trained(groups, style) if len({group.lag for group in groups}) > 1 else tested(groups, style)


def trained(groups: Sequence[Group], style: Styles) -> Chart:
    """Accuracy of networks trained and tested at each lag, with interval and single runs.

    Runs that were not tested are left out.
    """
    lines, chance = [], dict[float, float]()
    for name, ours in _by_name(with_test(groups)).items():
        means = {group.lag: accuracy(group.finished) for group in ours}
        dots = [(group.lag, run["test"]["accuracy"]) for group in ours for run in group.finished]
        lines.append(_estimated(name, style[name], means, dots, _solved(ours)))
        chance |= {group.lag: run["test"]["chance"] for group in ours for run in group.finished}
    return _accuracy("Accuracy against lag", "trained and tested at lag (steps)", lines, chance)


def tested(groups: Sequence[Group], style: Styles) -> Chart:
    """Accuracy of the networks trained at the largest lag, tested at each."""
    lines, chance, lag = [], dict[float, float](), max(group.lag for group in groups)
    for name, ours in _by_name(with_test(groups), lag).items():
        dots = [(at["lag"], at["accuracy"]) for run in ours[0].finished for at in run["lag_curve"]]
        lines.append(_estimated(name, style[name], tested_at(ours[0].finished), dots, _solved(ours)))
        chance |= {at["lag"]: at["chance"] for run in ours[0].finished for at in run["lag_curve"]}
    chart = _accuracy(f"Trained once, at lag {lag}", "tested at lag (steps)", lines, chance)
    return chart._replace(at=(lag, f"trained at {lag}")) if lines else chart


def gradient(groups: Sequence[Group], style: Styles) -> Chart:
    """The gradient over distance at the largest lag, means over runs: before training, and dashed after."""
    lines, lag = [], max(group.lag for group in groups)
    for name, ours in _by_name(groups, lag).items():
        measured = [list(decades(run, "log10_norm").values()) for run in ours[0].finished if run["gradient"]]
        for at in (0, -1) if measured else ():
            points = _mean_profile([profiles[at] for profiles in measured])
            lines.append(Line(name if at == 0 else f"{name}, trained", style[name], points, dashed=at == -1))
    title, y = f"Gradient over distance, lag {lag}: before and (dashed) after training", "log10 of gradient / that at 0"
    chart = Chart(title, "distance (steps)", y, lines, y_scale="decades", dashed="after training")
    return chart._replace(at=(lag, f"lag {lag}"))


def success(groups: Sequence[Group], style: Styles) -> Chart:
    """Share of runs that were solved, with Wilson's interval."""
    lines = [
        _estimated(name, style[name], {group.lag: success_rate(group.finished) for group in ours})
        for name, ours in _by_name([group for group in groups if group.solvable]).items()
    ]
    return Chart("Share of runs solved", "lag (steps)", "solved", lines, y_range=(0, 1))


def steps_to_solve(groups: Sequence[Group], style: Styles) -> Chart:
    """Median steps to solve; a lag is missing where that lies beyond the budget."""
    return _cost("Steps to solve (median)", "steps", groups, style, median_to_solve)


def costs(groups: Sequence[Group], style: Styles) -> list[Chart]:
    """Seconds, memory and throughput over lag, medians over runs."""
    kinds = (
        ("Seconds of training", "seconds", "seconds"),
        ("Peak memory", "bytes", "peak_memory_bytes"),
        ("Throughput", "time steps per second", "tokens_per_second"),
    )
    return [_cost(title, words, groups, style, partial(_median_cost, key)) for title, words, key in kinds]


def learning(groups: Sequence[Group], style: Styles) -> Chart:
    """Validation accuracy over training at the largest lag, a line for each run."""
    lines, lag = [], max(group.lag for group in groups)
    for name, ours in _by_name(groups, lag).items():
        for number, run in enumerate(ours[0].finished):
            points = [(at["step"], at["accuracy"]) for at in run["learning_curve"]]
            lines.append(Line(name if number == 0 else "", style[name], points))
    return Chart(f"Learning curves, lag {lag}", "training step", "validation accuracy", lines, "linear", y_range=(0, 1))


def _by_name(groups: Sequence[Group], lag: int | None = None) -> dict[str, list[Group]]:
    names = dict.fromkeys(group.name for group in groups)
    ours = {name: [group for group in groups if group.name == name and lag in (None, group.lag)] for name in names}
    return {name: group for name, group in ours.items() if group}


def _estimated(name: str, style: int, means: dict[int, Estimate], dots: Sequence[Point] = (), note: str = "") -> Line:
    points = [(lag, each.value) for lag, each in means.items()]
    band = [(lag, each.low, each.high) for lag, each in means.items() if each.low is not None and each.high is not None]
    return Line(name, style, points, band if len(band) > 1 else (), dots, note=note)


def _solved(groups: Sequence[Group]) -> str:
    """How many of the runs were solved, for the legend; empty if the task does not define it."""
    runs = [run for group in groups for run in group.finished]
    return f" ({sum(run['solved'] for run in runs)} of {len(runs)} solved)" if groups[0].solvable else ""


def _accuracy(title: str, x: str, lines: Sequence[Line], chance: dict[float, float]) -> Chart:
    baseline = [Line("chance", None, sorted(chance.items()), dashed=True)] if chance else []
    return Chart(title, x, "accuracy", [*lines, *baseline], y_range=(0, 1))


def _mean_profile(profiles: Sequence[dict[int, float]]) -> list[Point]:
    """Means of log10 over runs at each distance; the line ends where a gradient is below resolution."""
    points: list[Point] = []
    for distance in sorted(set.intersection(*map(set, profiles)) - {0}):
        value = statistics.fmean(profile[distance] for profile in profiles)
        if value != value:  # noqa: PLR0124  (nan)
            break
        points.append((distance, value))
    return points


def _cost(title: str, y: str, groups: Sequence[Group], style: Styles, of: Callable[[Sequence[Record]], Any]) -> Chart:
    lines = []
    for name, ours in _by_name(groups).items():
        values = {group.lag: of(group.finished) for group in ours}
        lines.append(Line(name, style[name], [(lag, value) for lag, value in values.items() if value]))
    return Chart(title, "lag (steps)", y, lines, y_scale="log")


def _median_cost(key: str, runs: Sequence[Record]) -> float | None:
    values = [value for run in runs if (value := cast("Any", run["cost"]).get(key)) is not None]
    return statistics.median(values) if values else None
