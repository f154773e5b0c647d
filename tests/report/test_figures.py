"""Pictures of a record: written whole or not at all, with the chance line, and without torch."""

import pkgutil
import subprocess
import sys
from io import BytesIO

import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from longlag import records, report
from longlag.report.figures import FORECASTS, PICTURE, draw, forecasts, lag_curve, save, terminal_lag_curve

PNG = b"\x89PNG\r\n\x1a\n"
CURVE = [
    {"lag": lag, "accuracy": accuracy, "loss": 0.1, "chance": 0.125, "sequences": 256}
    for lag, accuracy in [(1, 1.0), (10, 0.75), (100, 0.1)]
]


def record(points: int) -> records.Record:
    config = {"lag": 10, "seed": 0, "trainer": {}}
    return records.new(config, "lstm", "copy") | {"lag_curve": CURVE[:points]}


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
    assert list(lines["lstm"]) == [1.0, 0.75, 0.1]
    assert list(lines["chance"]) == [0.125] * 3
    assert {text.get_text() for text in axes.get_legend().get_texts()} == {
        "lstm", "chance", "95% interval", "trained at 10",
    }  # fmt: skip


FORECAST = {"observed": [0.1, 0.5, 0.9], "truth": [1.0, 0.8], "forecast": [1.1, 0.7]}


def test_forecasts_go_on_where_the_samples_end():
    rows = forecasts(record(3) | {"example": {"forecasts": [FORECAST, FORECAST]}}).axes
    assert len(rows) == 2
    for axes in rows:
        lines = {line.get_label(): line for line in axes.lines}
        assert list(lines["observed"].get_ydata()) == FORECAST["observed"]
        for name in ("truth", "forecast"):
            assert list(lines[name].get_xdata()) == [3, 4]
            assert list(lines[name].get_ydata()) == FORECAST[name]


@pytest.mark.parametrize(("example", "names"), [({}, {PICTURE}), ({"forecasts": [FORECAST]}, {PICTURE, FORECASTS})])
def test_a_run_has_the_pictures_it_can_have(tmp_path, example, names):
    draw(record(3) | {"example": example}, tmp_path)
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
    legend = terminal_lag_curve(record(points), color=False).splitlines()[-1]
    assert "chance" in legend
    assert "accuracy" in legend


def test_colour_only_where_it_is_asked_for():
    assert "\x1b[" in terminal_lag_curve(record(3), color=True)
    assert "\x1b[" not in terminal_lag_curve(record(3), color=False)


def test_torch_is_not_imported():
    modules = [f"longlag.report.{module.name}" for module in pkgutil.iter_modules(report.__path__)]
    assert len(modules) >= 3
    code = f"import sys, longlag.records, {', '.join(modules)}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
