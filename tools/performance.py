"""The tables and the chart of docs/performance.md, from docs/benchmarks/cells.json. `tools/readme.py` writes them."""

import json
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

CELLS = Path(__file__).parents[1] / "docs" / "benchmarks" / "cells.json"
LONG, SHORT = 1020, 110
COLOURS = {"LSTM": "#0072b2", "GRU": "#d55e00", "RNN": "#009e73"}
WIDTH, HEIGHT, LEFT, TOP, BOTTOM, BAR = 640, 300, 44, 40, 44, 26
Row = dict[str, Any]


def measured() -> dict[str, Any]:
    """The content of the JSON file."""
    found: dict[str, Any] = json.loads(CELLS.read_text(encoding="utf-8"))
    return found


def where() -> str:
    """The machine, the versions and the command, in a sentence."""
    about = measured()
    place = about["environment"]
    return (
        f"Measured on one thread of {place['cpu']} ({place['cpu_count']} cores) with torch {place['torch']}, Python "
        f"{place['python']}, inputs {about['input']} wide, at commit {place['commit']}, by\n`{about['command']}`.\n"
    )


def bounds() -> str:
    """What was required, what was aimed at, and what was reached."""
    rows = [["", "batch × hidden", "allocator", "times as fast", "floor", "aim", ""]]
    for one in measured()["bounds"]:
        reached = one["times_as_fast"]["median"]
        rows.append(
            [f"{one['model']} over {one['against']}", _size(one), one["allocator"], _spread(one["times_as_fast"]),
             _number(one["floor"]), _number(one["aim"]), _verdict(reached, one["floor"], one["aim"])]
        )  # fmt: skip
    return _table(rows)


def memory() -> str:
    """Peak memory of a training pass."""
    rows = [["", "batch × hidden", "peak memory", "share of nn.LSTM's", "floor", "aim", ""]]
    for one in measured()["memory"]:
        verdict = _verdict(-one["share"], -one["floor"], -one["aim"])
        size = f"{one['bytes'] / 2**20:.0f} MiB"
        rows.append(
            [one["model"], _size(one), size, _number(one["share"]), _number(one["floor"]), _number(one["aim"]), verdict]
        )
    return _table(rows)


def times(what: str, length: int) -> str:
    """CPU milliseconds of a pass by model and size, with the tuned allocator; in brackets over the products alone."""
    return _by_size(what, length, "tuned", _milliseconds)


def stock() -> str:
    """How much longer a training step takes with the allocator as it is than with the tuned one."""
    tuned = {(row["model"], _size(row)): row["cpu_ms"]["median"] for row in _cells("training", LONG, "tuned")}
    return _by_size(
        "training", LONG, "stock", lambda row: f"{row['cpu_ms']['median'] / tuned[row['model'], _size(row)]:.2f}"
    )


def chart() -> str:
    """Bars: how many times as fast as torch's layer the native kernel trains, for each cell and size. SVG."""
    found = {(row["model"], _size(row)): row for row in _cells("training", LONG, "tuned")}
    sizes = _sizes("training", LONG, "tuned")
    ratios = {
        (cell, size): found[f"{cell} native", size]["times_as_fast"][f"nn.{cell}"] for cell in COLOURS for size in sizes
    }
    top = max(ratio["max"] for ratio in ratios.values()) * 1.05
    space = (WIDTH - LEFT) / len(sizes)
    height = lambda value: (HEIGHT - BOTTOM - TOP) * value / top  # noqa: E731
    parts = [_line(height(tick), str(tick or ""), tick == 1) for tick in [1, *range(0, 1 + int(top), 5)]]
    for place, size in enumerate(sizes):
        x = LEFT + space * place + (space - BAR * len(COLOURS)) / 2
        for number, (cell, colour) in enumerate(COLOURS.items()):
            parts.append(_bar(x + BAR * number, colour, ratios[cell, size], height))
        parts.append(
            f'<text x="{LEFT + space * (place + 0.5):.1f}" y="{HEIGHT - 24}" text-anchor="middle">{size}</text>'
        )
    parts.append(f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 6}" text-anchor="middle">batch × hidden size</text>')
    for number, (cell, colour) in enumerate(COLOURS.items()):
        parts.append(f'<rect x="{LEFT + 8 + 150 * number}" y="10" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{LEFT + 25 + 150 * number}" y="20">{cell} over nn.{cell}</text>')
    title = f"Native kernels: times as fast as torch's layers in training, {LONG} steps, tuned allocator"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="12"><title>{escape(title)}</title>\n<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _line(up: float, name: str, strong: bool) -> str:
    y, colour = HEIGHT - BOTTOM - up, "#555" if strong else "#ddd"
    label = f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{name}</text>'
    return f'<line x1="{LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="{colour}"/>{label}'


def _bar(x: float, colour: str, ratio: dict[str, float], height: Callable[[float], float]) -> str:
    """The median as a bar with its number, smallest and largest as a line."""
    floor, tall, middle = HEIGHT - BOTTOM, height(ratio["median"]), x + BAR / 2
    return (
        f'<rect x="{x:.1f}" y="{floor - tall:.1f}" width="{BAR - 3}" height="{tall:.1f}" fill="{colour}"/>'
        f'<line x1="{middle - 1.5:.1f}" x2="{middle - 1.5:.1f}" y1="{floor - height(ratio["min"]):.1f}" '
        f'y2="{floor - height(ratio["max"]):.1f}" stroke="black"/>'
        f'<text x="{middle - 1.5:.1f}" y="{floor - height(ratio["max"]) - 3:.1f}" text-anchor="middle" font-size="10">'
        f"{ratio['median']:.1f}</text>"
    )


def _cells(what: str, length: int, allocator: str) -> list[Row]:
    wanted = {"pass": what, "time": length, "allocator": allocator}
    return [row for row in measured()["cells"] if all(row[key] == value for key, value in wanted.items())]


def _sizes(what: str, length: int, allocator: str) -> list[str]:
    return list(dict.fromkeys(map(_size, _cells(what, length, allocator))))


def _by_size(what: str, length: int, allocator: str, entry: Callable[[Row], str]) -> str:
    """A table with a row for each model and a column for each size."""
    rows, sizes = _cells(what, length, allocator), _sizes(what, length, allocator)
    found = {(row["model"], _size(row)): entry(row) for row in rows}
    # In the order of the file: models that were measured at one size stand where they do there.
    models = sorted({row["model"]: None for row in rows}, key=_order(rows))
    return _table([["", *sizes], *([model, *(found.get((model, size), "") for size in sizes)] for model in models)])


def _order(rows: list[Row]) -> Callable[[str], int]:
    """The place of a model among those of the size at which most were measured."""
    sizes = [_size(row) for row in rows]
    fullest = max(sizes, key=sizes.count)
    return [row["model"] for row in rows if _size(row) == fullest].index


def _milliseconds(row: Row) -> str:
    over = f" ({row['over_products']['median']:.2f})" if "over_products" in row else ""
    taken = row["cpu_ms"]["median"]
    return f"{taken:,.0f}{over}" if taken >= 1000 else f"{taken:.3g}{over}"


def _size(row: Row) -> str:
    return f"{row['batch']} × {row['hidden']}"


def _spread(ratio: dict[str, float]) -> str:
    return f"{ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _verdict(reached: float, floor: float, aim: float | None) -> str:
    if reached < floor:
        return "**below the floor**"
    return "floor met" if aim is None or reached < aim else "aim met"


def _table(rows: list[list[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], f"|{' --- |' * len(rows[0])}", *lines[1:]]) + "\n"
