"""Artefacts: each kind has a file and a part of the page, and no name leads out of the folder of the run."""

import json
from pathlib import Path

import pytest

from helpers.made_up import artefacts, run
from longlag import records
from longlag.report.artefacts import figure, html, pictures, write
from longlag.report.comparison import gap
from longlag.report.figures import draw
from longlag.report.groups import groups
from longlag.report.page import page
from longlag.report.plot import save

CURVES = artefacts("hark")["forecasts"]
STATE = artefacts("hark")["state"]
BROKEN = [
    *({**CURVES, "panels": panels} for panels in ([], [[]], [CURVES["panels"][0], []])),
    *({**STATE, "values": values} for values in ([], [[]], [[1.0], [1.0, 2.0]], [[1.0], []], [["1"]])),
]


def test_every_kind_has_a_file_and_a_place_on_the_page(tmp_path: Path):
    record = run() | {"example": artefacts("hark")}
    write(record, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"forecasts.png", "sample.txt", "state.png"}
    assert (tmp_path / "sample.txt").read_text() == "hark\n"
    assert [path.name for path in pictures(record, tmp_path)] == ["forecasts.png", "state.png"]
    shown = page([record], "t")
    for part in ("<pre>hark</pre>", '<img alt="hark of lstm on copy', "<figcaption>hark of lstm on copy"):
        assert part in shown


@pytest.mark.parametrize("name", ["$\\bad$", "$x_$", "a$b"])
def test_a_name_is_no_formula(tmp_path: Path, name: str):
    record = run(name, task=name) | {"example": artefacts(name)}
    write(record, tmp_path)
    draw(record, tmp_path)
    save(gap(groups([record])), tmp_path / "gap.png")
    assert name in page([record], name)


def test_curves_go_on_where_they_start():
    (axes,) = figure(CURVES, "lstm").axes
    lines = {line.get_label(): line for line in axes.lines}
    assert list(lines["observed"].get_xdata()) == [0, 1]
    assert list(lines["forecast"].get_xdata()) == [2, 3]
    assert list(lines["forecast"].get_ydata()) == [0.4, 0.1]


def test_a_value_that_is_not_finite_is_a_gap():
    broken = json.loads(json.dumps(CURVES))
    broken["panels"][0][0]["values"] = [None, 1.0]
    assert figure(broken, "lstm").axes
    assert html(broken, "lstm")


@pytest.mark.parametrize("name", ["../out", "a/b", "", "A", "a\n", "a.b", "a" * 41])
def test_a_name_that_is_no_plain_word_is_refused(tmp_path: Path, name: str):
    stored = records.store.stored(run() | {"example": {name: artefacts("a")["sample"]}})
    (tmp_path / records.FILE).write_text(json.dumps(stored))
    with pytest.raises(ValueError, match="example"):
        records.read(tmp_path)


@pytest.mark.parametrize(
    "wrong", [{}, {"kind": "html"}, {"kind": "text"}, {"kind": "curves", "panels": "x"}, [], "a", *BROKEN]
)
def test_an_artefact_of_no_kind_is_refused(tmp_path: Path, wrong: object):
    stored = records.store.stored(run() | {"example": {"a": wrong}})
    (tmp_path / records.FILE).write_text(json.dumps(stored))
    with pytest.raises(ValueError, match="example"):
        records.read(tmp_path)
