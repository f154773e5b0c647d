"""Pictures of a record: written whole or not at all, with the chance line, and without torch."""

import math
import pkgutil
import subprocess
import sys
from io import BytesIO

import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from helpers.made_up import CONFIG
from longlag import records, report
from longlag.report import terminal
from longlag.report.figures import GRADIENT, PICTURE, decades, draw, gradient, lag_curve
from longlag.report.plot import save

PNG = b"\x89PNG\r\n\x1a\n"
CURVE = [
    {"lag": lag, "accuracy": accuracy, "loss": 0.1, "chance": 0.125, "sequences": 256}
    for lag, accuracy in [(1, 1.0), (10, 0.75), (100, 0.1)]
]


def record(points: int) -> records.Record:
    config = {"lag": 10, "seed": 0, **CONFIG}
    return records.new(config, "lstm", "copy") | {"lag_curve": CURVE[:points]}


GRADIENTS = {
    "gradient": [
        {"step": step, "distance": distance, "log10_norm": norm}
        for step, norms in [(0, (-1.0, -1.5, None)), (100, (-2.0, -2.0, -1.0))]
        for distance, norm in zip((0, 1, 10), norms, strict=True)
    ]
}


def test_gradient_is_drawn_beside_what_it_is_at_distance_0():
    lines, heat, _ = gradient(record(3) | GRADIENTS).axes
    drawn = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in lines.lines}
    assert drawn["step 100"] == ([1, 10], [0.0, 1.0])
    assert drawn["step 0"][0] == [1, 10]
    assert drawn["step 0"][1][0] == -0.5
    assert math.isnan(drawn["step 0"][1][1])  # below resolution: a gap
    assert "lag 10" in drawn
    (image,) = heat.images
    cells = image.get_array().filled(math.nan)
    assert cells[:, 1].tolist() == [0.0, 0.0, 1.0]
    assert cells[:2, 0].tolist() == [0.0, -0.5]
    assert math.isnan(cells[2, 0])


def test_gradient_in_the_state_is_dashed_beside_its_step():
    points = [{"step": 0, "distance": k, "log10_norm": 0.0, "log10_state_norm": -0.1 * k - 2.0} for k in (0, 1, 10)]
    later = [{"step": 5, "distance": k, "log10_norm": -1.0} for k in (0, 1, 10)]
    lines = gradient(record(3) | {"gradient": points + later}).axes[0].lines
    solid = {line.get_label(): line for line in lines if line.get_linestyle() == "-"}
    (dashed, key) = [line for line in lines if line.get_linestyle() == "--"]
    assert list(dashed.get_xdata()) == [1, 10]
    assert list(dashed.get_ydata()) == pytest.approx([-0.1, -1.0])
    assert dashed.get_color() == solid["step 0"].get_color() != solid["step 5"].get_color()
    assert (key.get_label(), len(key.get_xdata())) == ("in the state", 0)
    assert "in the state" not in [line.get_label() for line in gradient(record(3) | GRADIENTS).axes[0].lines]


def test_decades_come_in_order_and_are_zero_at_0():
    points = [{"step": step, "distance": k, "log10_norm": step - k} for step in (10, 0) for k in (4, 0, 2)]
    found = decades({"gradient": points}, "log10_norm")
    assert [(step, list(row.items())) for step, row in found.items()] == [
        (0, [(0, 0), (2, -2), (4, -4)]),
        (10, [(0, 0), (2, -2), (4, -4)]),
    ]
    assert decades({"gradient": points}, "log10_state_norm") == {}


def test_gradient_measured_once_and_one_that_is_nothing(tmp_path):
    for points in (GRADIENTS["gradient"][:1], [{"step": 0, "distance": 0, "log10_norm": None}]):
        save(gradient(record(3) | {"gradient": points}), tmp_path / GRADIENT)
        assert (tmp_path / GRADIENT).read_bytes().startswith(PNG)


@pytest.mark.parametrize("points", [1, 3])
def test_picture_is_written(tmp_path, points):
    save(lag_curve(record(points)), tmp_path / PICTURE)
    content = (tmp_path / PICTURE).read_bytes()
    assert content.startswith(PNG)
    assert imread(BytesIO(content)).std() > 0
    assert [path.name for path in tmp_path.iterdir()] == [PICTURE]


def test_picture_shows_what_was_measured():
    (axes,) = lag_curve(record(3)).axes
    lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    assert list(lines["lstm with 95% interval"]) == [1.0, 0.75, 0.1]
    assert list(lines["chance"]) == [0.125] * 3
    assert {text.get_text() for text in axes.get_legend().get_texts()} == {
        "lstm with 95% interval", "chance", "trained at 10",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("found", "names"),
    [
        ({}, {PICTURE}),
        (GRADIENTS, {PICTURE, GRADIENT}),
    ],
)
def test_a_run_has_the_pictures_it_can_have(tmp_path, found, names):
    draw(record(3) | found, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == names


def test_broken_write_leaves_the_old_picture_and_nothing_else(tmp_path, monkeypatch):
    def break_off(_: Figure, path, **__) -> None:
        path.write_bytes(PNG)
        raise OSError("no space left on device")

    (tmp_path / PICTURE).write_bytes(b"old")
    monkeypatch.setattr(Figure, "savefig", break_off)
    with pytest.raises(OSError, match="no space left"):
        save(Figure(), tmp_path / PICTURE)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {PICTURE: b"old"}


@pytest.mark.parametrize("points", [1, 3])
def test_terminal_curve_names_its_lines(points):
    legend = terminal.lag_curve(record(points), color=False).splitlines()[-1]
    assert "chance" in legend
    assert "accuracy" in legend


def test_colour_only_where_it_is_asked_for():
    assert "\x1b[" in terminal.lag_curve(record(3), color=True)
    assert "\x1b[" not in terminal.lag_curve(record(3), color=False)


def test_torch_is_not_imported():
    modules = [f"longlag.report.{module.name}" for module in pkgutil.iter_modules(report.__path__)]
    assert {f"longlag.report.{name}" for name in ("groups", "comparison", "figures", "statistics", "table")} <= {
        *modules
    }
    code = f"import sys, longlag.records, {', '.join(modules)}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
