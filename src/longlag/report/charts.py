"""Line charts as inline SVG, with what a page needs to show values under the pointer. Needs no torch."""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import Any, NamedTuple

WIDTH, HEIGHT = 480, 300
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 12, 44  # margins
MARKS = ("M-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0", "M-3-3h6v6h-6z", "M0-4l4 7h-8z", "M0-4l4 4-4 4-4-4z", "M0 4l4-7h-8z")

COLOURS = 8  # in page.css

Point = tuple[float, float]


class Line(NamedTuple):
    """One line of a chart.

    Attributes:
        name: in the legend; empty for none.
        style: number of its colour and mark.
        points: (x, y) with x rising.
        band: (x, low, high) of its interval.
        dots: (x, y) of single runs.
        dashed: one that goes with a solid line of the same style.
    """

    name: str
    style: int
    points: Sequence[Point]
    band: Sequence[tuple[float, float, float]] = ()
    dots: Sequence[Point] = ()
    dashed: bool = False


class Chart(NamedTuple):
    """A chart.

    Attributes:
        title, x, y: words over it and beside its axes.
        lines: what it shows.
        x_scale, y_scale: `linear`, `log`, or `decades`: linear up to one, by powers of ten beyond, either sign.
        y_range: where it is not to follow the data.
        level: (y, name) of a horizontal line, such as chance.
    """

    title: str
    x: str
    y: str
    lines: Sequence[Line]
    x_scale: str = "log"
    y_scale: str = "linear"
    y_range: tuple[float, float] | None = None
    level: tuple[float, str] | None = None


class Axis(NamedTuple):
    """From values to positions, and the values that get a tick."""

    place: Callable[[float], float]
    ticks: list[float]


def svg(chart: Chart) -> str:
    """The chart, with a title and a description for those who do not see it."""
    xs = [x for line in chart.lines for x, _ in line.points]
    if len(set(xs)) < 2:  # a table says it better
        return ""
    ys = [y for line in chart.lines for y in _heights(line)] + ([chart.level[0]] if chart.level else [])
    across = _axis(chart.x_scale, (min(xs), max(xs)), (LEFT, WIDTH - RIGHT))
    up = _axis(chart.y_scale, chart.y_range or (min(ys), max(ys)), (HEIGHT - BOTTOM, TOP))
    drawn = [_frame(chart, across, up), *(_line(line, across, up) for line in chart.lines)]
    if chart.level:
        y = up.place(chart.level[0])
        drawn.append(f'<line class="level" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
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
        f'<span class="key s{line.style % COLOURS}">{escape(line.name)}</span>'
        for line in chart.lines
        if line.name and not line.dashed  # a dashed line goes with a solid one
    ]
    if chart.level:
        keys.append(f'<span class="key levelkey">{escape(chart.level[1])}</span>')
    legend = f'<div class="legend">{"".join(keys)}</div>'
    return f"<figure><figcaption>{escape(chart.title)}</figcaption>{drawn}{legend}</figure>"


def _heights(line: Line) -> Iterable[float]:
    yield from (y for _, y in line.points)
    yield from (y for _, y in line.dots)
    yield from (end for _, *ends in line.band for end in ends)


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
        mark = MARKS[line.style % len(MARKS)]
        parts += [
            f'<path class="mark" transform="translate({at(x, y)})" d="{mark}"/>'
            for x, y in line.points[: 60 * bool(line.name)]
        ]
    return f'<g class="s{line.style % COLOURS}">{"".join(parts)}</g>'


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
                "style": line.style % COLOURS,
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
