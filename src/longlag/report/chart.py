"""A chart as data: what to draw, not how. `svg.py` draws it on the page, `plot.py` with matplotlib. Needs no torch."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

COLOURS = 8  # in page.css and plot.py
MARKS = 5  # shapes in svg.py and plot.py: lines also differ in them, for readers who cannot tell the colours apart

Point = tuple[float, float]


class Line(NamedTuple):
    """One line of a chart.

    Attributes:
        name: in the legend; empty for none.
        style: number of its colour and mark; None for a grey line to compare with, which has no marks.
        points: (x, y) with x rising.
        band: (x, low, high) of its interval.
        dots: (x, y) of single runs or single values.
        dashed: whether it is dashed. One that has a style belongs to the solid line of the same style.
        note: what the legend says after the name.
    """

    name: str
    style: int | None
    points: Sequence[Point]
    band: Sequence[tuple[float, float, float]] = ()
    dots: Sequence[Point] = ()
    dashed: bool = False
    note: str = ""

    @property
    def listed(self) -> bool:
        """Whether the legend lists it: a dashed line of a style goes with the solid one."""
        return bool(self.name) and not (self.dashed and self.style is not None)


class Chart(NamedTuple):
    """A chart.

    Attributes:
        title, x, y: words over it and beside its axes.
        lines: what it shows.
        x_scale, y_scale: `linear`, `log`, or `decades`: linear up to one, by powers of ten beyond, either sign.
        y_range: the range of the y axis where it does not follow the data.
        at: (x, name) of a vertical line, such as the lag of the training.
        dashed: what the dashed lines of a style are, for the legend.
    """

    title: str
    x: str
    y: str
    lines: Sequence[Line]
    x_scale: str = "log"
    y_scale: str = "linear"
    y_range: tuple[float, float] | None = None
    at: tuple[float, str] | None = None
    dashed: str = ""

    @property
    def xs(self) -> list[float]:
        """All x of points and dots, in order."""
        return sorted({x for line in self.lines for x, _ in (*line.points, *line.dots)})

    @property
    def ys(self) -> Iterator[float]:
        """All y that are drawn."""
        for line in self.lines:
            yield from (y for _, y in (*line.points, *line.dots))
            yield from (end for _, *ends in line.band for end in ends)
