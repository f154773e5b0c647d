"""Draws a chart as inline SVG, with what a page needs to show values under the pointer. Needs no torch."""

import json
import math
from collections.abc import Callable
from html import escape
from typing import Any, NamedTuple

from longlag.report.chart import COLOURS, MARKS, Chart, Line

WIDTH, HEIGHT = 480, 300
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 12, 44  # margins
MARKED = 60  # points of a line that get a mark, at most
SHAPES = ("M-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0", "M-3-3h6v6h-6z", "M0-4l4 7h-8z", "M0-4l4 4-4 4-4-4z", "M0 4l4-7h-8z")


class Axis(NamedTuple):
    """From values to positions, and the values that get a tick."""

    place: Callable[[float], float]
    ticks: list[float]


def svg(chart: Chart) -> str:
    """The chart, with a title and a description for those who do not see it."""
    xs, ys = chart.xs, list(chart.ys)
    if len(xs) < 2:  # a table says it better
        return ""
    across = _axis(chart.x_scale, (xs[0], xs[-1]), (LEFT, WIDTH - RIGHT))
    up = _axis(chart.y_scale, chart.y_range or (min(ys), max(ys)), (HEIGHT - BOTTOM, TOP))
    drawn = [_frame(chart, across, up), *(_line(line, across, up) for line in chart.lines)]
    if chart.at and xs[0] <= chart.at[0] <= xs[-1]:
        x = across.place(chart.at[0])
        drawn.append(f'<line class="at" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" data-chart="{escape(json.dumps(_values(chart, across)))}">'
        f"<title>{escape(chart.title)}</title><desc>{escape(_in_words(chart))}</desc>{''.join(drawn)}</svg>"
    )


def figure(chart: Chart) -> str:
    """The chart with its title and legend; nothing where there is nothing to draw."""
    drawn = svg(chart)
    if not drawn:
        return ""
    keys = [
        f'<span class="key {_class(line)}{" dashed" * line.dashed}">{escape(line.name + line.note)}</span>'
        for line in chart.lines
        if line.listed
    ]
    if chart.dashed:
        keys.append(f'<span class="key grey dashed">{escape(chart.dashed)}</span>')
    if chart.at:
        keys.append(f'<span class="key grey dashed">{escape(chart.at[1])}</span>')
    legend = f'<div class="legend">{"".join(keys)}</div>'
    return f"<figure><figcaption>{escape(chart.title)}</figcaption>{drawn}{legend}</figure>"


def _frame(chart: Chart, across: Axis, up: Axis) -> str:
    floor, middle = HEIGHT - BOTTOM, (TOP + HEIGHT - BOTTOM) / 2
    parts = [f'<path class="axis" d="M{LEFT} {TOP}V{floor}H{WIDTH - RIGHT}"/>']
    for x in across.ticks:
        parts.append(
            f'<text class="tick" x="{across.place(x):.1f}" y="{floor + 15}" text-anchor="middle">{short(x)}</text>'
        )
    for y in up.ticks:
        at = up.place(y)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{at + 3.5:.1f}" text-anchor="end">{short(y)}</text>')
    parts.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{escape(chart.x)}</text>'
    )
    parts.append(f'<text transform="translate(12 {middle}) rotate(-90)" text-anchor="middle">{escape(chart.y)}</text>')
    return "".join(parts)


def _line(line: Line, across: Axis, up: Axis) -> str:
    def at(x: float, y: float) -> str:
        return f"{across.place(x):.1f} {up.place(y):.1f}"

    parts = []
    if line.band:
        edge = [at(x, high) for x, _, high in line.band] + [at(x, low) for x, low, _ in reversed(line.band)]
        parts.append(f'<path class="band" d="M{"L".join(edge)}z"/>')
    parts += [f'<circle class="dot" cx="{across.place(x):.1f}" cy="{up.place(y):.1f}" r="2"/>' for x, y in line.dots]
    if line.points:
        path = "L".join(at(x, y) for x, y in line.points)
        parts.append(f'<path class="line{" dashed" * line.dashed}" d="M{path}"/>')
    if line.name and line.style is not None:
        mark = SHAPES[line.style % MARKS]
        marked = line.points[:MARKED]
        parts += [f'<path class="mark" transform="translate({at(x, y)})" d="{mark}"/>' for x, y in marked]
    return f'<g class="{_class(line)}">{"".join(parts)}</g>'


def _class(line: Line) -> str:
    """The class of its colour in page.css."""
    return "grey" if line.style is None else f"s{line.style % COLOURS}"


def _axis(scale: str, values: tuple[float, float], places: tuple[float, float]) -> Axis:
    """Raises KeyError for an unknown scale."""
    bend, ticks = {"linear": (float, _even), "log": (math.log10, _powers), "decades": (_decades, _either_sign)}[scale]
    low, high = values
    start, end = bend(low), bend(high)
    if start == end:
        start, end = start - 0.5, end + 0.5
    span = places[1] - places[0]
    inner = span * 0.03  # so that nothing lies on the frame
    place = lambda value: places[0] + inner + (bend(value) - start) / (end - start) * (span - 2 * inner)  # noqa: E731
    return Axis(place, [tick for tick in ticks(low, high) if low <= tick <= high])


def _even(low: float, high: float) -> list[float]:
    step = 10 ** math.floor(math.log10((high - low) or 1))
    step *= next(part for part in (0.1, 0.2, 0.25, 0.5, 1, 2) if (high - low) / (step * part) <= 6)
    return [step * number for number in range(math.floor(low / step), math.ceil(high / step) + 1)]


def _powers(low: float, high: float) -> list[float]:
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    tens = [10.0**power for power in exponents]
    within = [tick for tick in tens if low <= tick <= high]
    return tens if len(within) > 1 else [ten * part for ten in tens for part in (1, 2, 5)]


def _decades(value: float) -> float:
    return value if abs(value) <= 1 else math.copysign(1 + math.log10(abs(value)), value)


def _either_sign(low: float, high: float) -> list[float]:
    reach = max(abs(low), abs(high), 1)
    tens = [10.0**power for power in range(math.ceil(math.log10(reach)) + 1)]
    return [*(-ten for ten in reversed(tens)), 0, *tens]


def short(value: float) -> str:
    """A number, as short as a tick needs it."""
    if value == 0 or 0.001 <= abs(value) < 10000:
        return f"{value:g}".replace("-", "−")
    return f"{value:.0e}".replace("e+0", "e").replace("e-0", "e−").replace("e+", "e")


def _values(chart: Chart, across: Axis) -> dict[str, Any]:
    """For the script: where each x lies, and each line's value there."""
    xs = sorted({x for line in chart.lines if line.name for x, _ in line.points})
    named = [(line, dict(line.points)) for line in chart.lines if line.name]
    return {
        "x": chart.x,
        "xs": xs,
        "at": [round(across.place(x), 1) for x in xs],
        "lines": [
            {
                "name": line.name,
                "style": _class(line),
                "ys": [None if x not in at else _rounded(at[x]) for x in xs],
            }
            for line, at in named
        ],
    }


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


def _in_words(chart: Chart) -> str:
    said = [
        f"{line.name}: " + ", ".join(f"{_rounded(y):g} at {short(x)}" for x, y in line.points)
        for line in chart.lines
        if line.name
    ]
    return f"{chart.y} over {chart.x}. " + "; ".join(said) + "."
