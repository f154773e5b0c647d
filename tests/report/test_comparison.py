"""The picture of a set of runs: what its lines show, and which of them belong together."""

import pytest
from matplotlib.axes import Axes
from matplotlib.colors import same_color
from matplotlib.lines import Line2D

from helpers.made_up import failed, profile, run, untested
from longlag.report.comparison import gap
from longlag.report.groups import groups
from longlag.report.plot import save


def drawn(line: Line2D) -> dict[float, float]:
    return dict(zip(line.get_xdata(), line.get_ydata(), strict=True))


def line(axes: Axes, name: str) -> Line2D:
    """The one line of this name, or of a name and how many were solved."""
    (found,) = [each for each in axes.lines if each.get_label().split(" (")[0] == name]
    return found


def legend(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def dots(axes: Axes) -> list[tuple[float, float]]:
    faint = [each for each in axes.lines if each.get_alpha() is not None]
    return sorted((x, y) for each in faint for x, y in zip(each.get_xdata(), each.get_ydata(), strict=True))


def test_several_lags_are_those_trained_at():
    runs = [run(lag=10, seed=0), run(lag=10, seed=1, accuracy=0.8), run(lag=100, steps=None), failed(lag=1000)]
    left, _ = gap(groups([*runs, run(model="rnn", lag=10, accuracy=0.3)])).axes
    assert left.get_xlabel() == "trained and tested at lag (steps)"
    assert drawn(line(left, "lstm")) == {10: 0.9, 100: 0.2}
    assert drawn(line(left, "chance")) == {10: 0.125, 100: 0.125}
    assert dots(left) == [(10, 0.3), (10, 0.8), (10, 1.0), (100, 0.2)]
    assert legend(left) == ["lstm (2 of 3 solved)", "rnn (1 of 1 solved)", "chance"]
    assert (
        len(left.collections) == 1
    )  # lstm: the range of two runs, and what the test of one leaves open; rnn has one lag


def test_band_is_the_interval_at_each_lag():
    runs = [run(lag=lag, seed=seed, accuracy=accuracy) for lag in (10, 100) for seed, accuracy in ((0, 1.0), (1, 0.8))]
    left, _ = gap(groups(runs)).axes
    (band,) = left.collections
    corners = {(x, y) for x, y in band.get_paths()[0].vertices.tolist()}
    assert corners == {(10, 0.8), (10, 1.0), (100, 0.8), (100, 1.0)}


def test_one_lag_is_tested_at_each():
    left, _ = gap(groups([run(seed=0), run(seed=1, accuracy=0.5)])).axes
    assert left.get_xlabel() == "tested at lag (steps)"
    assert drawn(line(left, "lstm")) == {50: 0.75, 100: 0.75, 200: 0.1}
    assert drawn(line(left, "chance")) == dict.fromkeys((50, 100, 200), 0.125)
    assert dots(left) == [(50, 0.5), (50, 1.0), (100, 0.5), (100, 1.0), (200, 0.1), (200, 0.1)]
    assert set(line(left, "trained at 100").get_xdata()) == {100}


def test_gradient_before_and_after_is_a_mean_over_seeds():
    other = run(seed=1) | {"gradient": profile(0, {0: 1.0, 1: -0.5, 64: 0.0}) + profile(9, {0: 1.0, 1: 1.0, 64: 0.0})}
    third = run(seed=2) | {"gradient": []}
    _, right = gap(groups([run(seed=0), other, third])).axes
    before, after = [each for each in right.lines if each.get_marker() != "None"]
    assert drawn(before) == {1: -1.0}  # 64 and 100 were not measured in both
    assert drawn(after) == {1: 0.0}
    assert (before.get_linestyle(), after.get_linestyle()) == ("-", ":")
    assert legend(right) == ["lstm", "after training", "lag 100"]


def test_gradient_line_ends_below_resolution(tmp_path):
    lost = run() | {"gradient": profile(0, {0: -1.0, 1: -1.0, 64: -101.0, 100: None})}
    figure = gap(groups([lost]))
    before = drawn(line(figure.axes[1], "lstm"))
    assert before == {1: 0, 64: -100}
    low, high = figure.axes[1].get_ylim()
    assert low < -100 < 0 < high < 1
    save(figure, tmp_path / "gap.png")


def test_model_that_is_missing_at_the_largest_lag_has_no_gradient_there():
    left, right = gap(groups([run(lag=10), run(lag=100), run(model="rnn", lag=10), failed(model="rnn", lag=100)])).axes
    assert drawn(line(left, "rnn")) == {10: 1.0}
    assert drawn(line(right, "lstm"))[100] == -2.5
    assert legend(right) == ["lstm", "after training", "lag 100"]


def test_model_keeps_its_colour_and_mark_in_every_panel():
    runs = [run(), run(model="gru"), run(task="adding"), run(task="adding", model="transformer")]
    figure = gap(groups(runs))
    assert [axes.get_title(loc="left") for axes in figure.axes[::2]] == ["adding", "copy"]
    lstm = [line(axes, "lstm") for axes in figure.axes]
    assert len(lstm) == 4
    assert len({each.get_marker() for each in lstm}) == 1
    assert all(same_color(each.get_color(), lstm[0].get_color()) for each in lstm)
    others = [line(figure.axes[0], "transformer"), line(figure.axes[2], "gru")]
    assert len({each.get_color() for each in [lstm[0], *others]}) == 3
    assert len({each.get_marker() for each in [lstm[0], *others]}) == 3


def test_settings_tell_lines_apart_and_nothing_is_solved_without_a_score_to_reach():
    left, _ = gap(groups([run(lr=0.1, solved_at=None), run(lr=0.2, solved_at=None)])).axes
    assert legend(left) == ["lstm lr=0.1", "lstm lr=0.2", "chance", "trained at 100"]


@pytest.mark.parametrize("runs", [[], [failed(), failed(seed=1)]])
def test_nothing_to_draw(runs):
    with pytest.raises(ValueError, match="none of the runs finished"):
        gap(groups(runs))


@pytest.mark.parametrize("lags", [(100,), (30, 100)])
def test_runs_without_a_test_have_a_gradient_alone(lags: tuple[int, ...]):
    left, right = gap(groups([untested(lag=lag) for lag in lags])).axes
    assert [each.get_label() for each in left.lines if each.get_label() in ("lstm", "chance")] == []
    assert left.get_legend() is None
    assert drawn(line(right, "lstm"))
    left, _ = gap(groups([untested(lag=100), run(model="gru", lag=100)])).axes
    assert "gru (1 of 1 solved)" in legend(left)
