"""Artefacts of a run, what a task shows of a trained network: each kind is written to a file, and shown on the page.

A new kind is a type in `records/schema.py` and an entry in each table below. Needs no torch.
"""

import math
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from longlag.files import write_text
from longlag.records.schema import Artefact, Curves, Image, Record, Text
from longlag.report.chart import Chart, Line
from longlag.report.figures import PICTURES
from longlag.report.plot import plot, png, save
from longlag.report.svg import figure as svg_figure


def name_of(record: Record) -> str:
    """Which run it is, in words."""
    return f"{record['model']} on {record['task']}, lag {record['lag']}, seed {record['seed']}"


def write(record: Record, folder: Path) -> None:
    """Write the file of each artefact of a run to its folder."""
    of = name_of(record)
    for path, artefact in files(record["example"], folder):
        if artefact["kind"] == "text":
            write_text(path, artefact["text"] + "\n")
        else:
            save(figure(artefact, of), path)


def files(example: Mapping[str, Artefact], folder: Path) -> Iterator[tuple[Path, Artefact]]:
    """The path of each artefact in the folder of its run."""
    for name, artefact in example.items():
        yield folder / f"{name}{'.txt' if artefact['kind'] == 'text' else '.png'}", artefact


def pictures(record: Record, folder: Path) -> list[Path]:
    """The pictures that a run left in its folder, the most important one first."""
    drawn = [path for path, artefact in files(record["example"], folder) if artefact["kind"] != "text"]
    return [path for path in [*(folder / name for name in PICTURES), *drawn] if path.exists()]


def figure(artefact: Curves | Image, of: str) -> Figure:
    """The picture of an artefact; `of` says of which run it is."""
    return _curves_figure(artefact, of) if artefact["kind"] == "curves" else _image_figure(artefact, of)


def _curves_figure(curves: Curves, of: str) -> Figure:
    """A row for each panel; the legend, which is the same for all, stands below."""
    every = list(_charts(curves, of))
    drawn = Figure(figsize=(6.4, 1.6 * len(every) + 0.4), layout="constrained")
    rows = drawn.subplots(len(every), sharex=True, squeeze=False)[:, 0]
    for axes, chart in zip(rows, every, strict=True):
        plot(axes, chart)
        axes.get_legend().remove()
        axes.label_outer()
    drawn.legend(*rows[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    rows[0].set_title(every[0].title, fontsize=10)
    return drawn


def _charts(curves: Curves, of: str) -> Iterator[Chart]:
    """A chart for each panel: an input is a row of grey dots, a target a grey line, an output a coloured line."""
    for panel in curves["panels"]:
        lines = []
        for curve in panel:
            steps = enumerate(curve["values"], curve["start"])
            points = [(step, value) for step, value in steps if value is not None]
            dots = curve["role"] == "input"
            style = 0 if curve["role"] == "output" else None
            lines.append(Line(curve["name"], style, () if dots else points, dots=points if dots else ()))
        yield Chart(f"{curves['title']} of {of}", "step", curves["y"], lines, "linear")


def _image_figure(image: Image, of: str) -> Figure:
    drawn = Figure(figsize=(4.8, 4.0), layout="constrained")
    axes = drawn.subplots()
    values = [[math.nan if value is None else value for value in row] for row in image["values"]]
    axes.imshow(values, cmap="gray", aspect="auto", interpolation="nearest")
    axes.set(xlabel=image["x"], ylabel=image["y"])
    axes.set_title(f"{image['title']} of {of}", fontsize=10)
    return drawn


def html(artefact: Artefact, of: str) -> str:
    """An artefact as a part of the page; `of` says of which run it is."""
    shown: Mapping[str, Callable[[Any, str], str]] = {"text": _text_html, "curves": _curves_html, "image": _image_html}
    return shown[artefact["kind"]](artefact, of)


def _text_html(text: Text, of: str) -> str:
    heading = f"<h3>{escape(text['title'])} by {escape(of)}</h3>"
    return f"{heading}<p>{escape(text['about'])}</p><pre>{escape(text['text'])}</pre>"


def _curves_html(curves: Curves, of: str) -> str:
    """The first panel as a chart."""
    return svg_figure(next(_charts(curves, of)))


def _image_html(image: Image, of: str) -> str:
    name = escape(f"{image['title']} of {of}")
    picture = b64encode(png(_image_figure(image, of))).decode()
    return f'<figure><figcaption>{name}</figcaption><img alt="{name}" src="data:image/png;base64,{picture}"></figure>'
