"""The pictures of a search: every trial is a point, and what is not known is not drawn as if it were."""

from collections import Counter

import pytest

from longlag.report.plot import png
from longlag.sweeps import horizon_charts
from longlag.sweeps.horizon import CENSORED, SOLVED, UNSOLVED, Search, Trial
from longlag.sweeps.horizon_charts import AT, against, panel

KNOWN = [(lag, SOLVED if lag < 30 else UNSOLVED) for lag in (8, 16, 24, 32, 48, 64) for _ in range(3)]
TOLD = [(8, SOLVED), (16, SOLVED), (16, SOLVED), (32, UNSOLVED), (32, SOLVED), (64, UNSOLVED), (500, CENSORED)]


def found(*told: tuple[int, str], **about) -> dict:
    one = Search(4, 2048, 24, 1.2, 2)
    for seed, (lag, outcome) in enumerate(told):
        one.tell(Trial(lag, seed, outcome, "sequences", 1.0))
    return {"model": "rnn", "task": "copy", "overrides": ["model=rnn"], **about, **one.found}


def test_every_trial_is_drawn():
    chart = panel(found(*TOLD))
    drawn = {line.name.split()[0]: line.dots for line in chart.lines if line.dots}
    assert {name: [x for x, _ in dots] for name, dots in drawn.items()} == {
        SOLVED: [8, 16, 16, 32], UNSOLVED: [32, 64], CENSORED: [500],
    }  # fmt: skip
    points = Counter(dot for dots in drawn.values() for dot in dots)
    assert max(points.values()) == 1  # none lies on another
    low, high = chart.y_range
    assert all(low <= y <= high for _, y in points)
    assert all(y > 1 for _, y in drawn[SOLVED])
    assert all(y < 0 for _, y in drawn[UNSOLVED])
    assert [y for _, y in drawn[CENSORED]] == [AT[CENSORED]]


def test_the_curve_lies_within_its_band():
    curve = panel(found(*TOLD)).lines[0]
    assert all(low <= y <= high for (_, y), (_, low, high) in zip(curve.points, curve.band, strict=True))
    assert curve.points[0][1] > 0.8
    assert curve.points[-1][1] < 0.2


def test_the_horizon_is_marked_where_it_is_known():
    known, unknown = found(*KNOWN), found((2048, SOLVED), (2048, SOLVED))
    assert panel(known).at == (known["memory_horizon"], f"memory horizon {known['memory_horizon']}")
    assert panel(unknown).at is None


@pytest.mark.parametrize("number", [1, 2, 4])
def test_pictures(number: int):
    searches = [found(*TOLD, overrides=["model=rnn", f"lr={at}"], over={"lr": at}) for at in range(1, number + 1)]
    assert png(horizon_charts.trials(searches)).startswith(b"\x89PNG")
    assert png(horizon_charts.over(searches)).startswith(b"\x89PNG")


def test_a_single_trial_is_drawn():
    assert png(horizon_charts.trials([found((4, CENSORED))])).startswith(b"\x89PNG")


def test_against_a_setting():
    wide, narrow, open_ended = (
        found(*KNOWN, model=model, overrides=[f"model={model}", f"task.payload={at}"], over={"task.payload": at})
        for model, at in (("rnn", 4), ("rnn", 1), ("gru", 1))
    )
    open_ended |= {"memory_horizon": None, "interval": [100, None], "at_least": True}
    chart = against([wide, narrow, open_ended])
    assert [line.name for line in chart.lines] == ["rnn", "gru"]
    rnn, gru = chart.lines
    assert rnn.points == [(1, narrow["memory_horizon"]), (4, wide["memory_horizon"])]
    assert (gru.points, gru.dots, gru.band) == ([], [(1, 100)], [(1, 100, 2048)])
    assert (chart.x, chart.x_scale, chart.y_scale) == ("task.payload", "log", "log")
    assert against([wide | {"over": {"task.payload": 0}}]).x_scale == "linear"
