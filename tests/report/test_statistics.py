"""Intervals against published values, and what a set of runs comes to where the answer is known."""

import numpy as np
import pytest

from longlag.report.statistics import (
    FINITE_TEST,
    INTERVAL,
    RANGE,
    Estimate,
    accuracy,
    accuracy_horizon,
    mean,
    median,
    median_to_solve,
    success_rate,
    wilson,
)


def solved_at(*steps: int | None) -> list[dict]:
    return [{"solved": step is not None, "steps_to_solve": step} for step in steps]


def measured_at(**accuracy: float) -> dict:
    return {"lag_curve": [{"lag": int(lag[1:]), "accuracy": score} for lag, score in accuracy.items()]}


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_in_newcombe_1998_table_1(successes, trials, low, high):
    assert wilson(successes / trials, trials) == pytest.approx((low, high), abs=5e-5)


def test_all_right_is_not_certainty():
    low, high = wilson(1.0, 256)
    assert low == pytest.approx(256 / (256 + 1.959964**2))
    assert high == 1.0


def test_more_confidence_is_wider():
    narrow, wide = wilson(0.5, 100), wilson(0.5, 100, confidence=0.99)
    assert wide[0] < narrow[0] < 0.5 < narrow[1] < wide[1]


@pytest.mark.parametrize(
    ("steps", "rate"), [((100, 200, 300), 1.0), ((100, None, 300), 2 / 3), ((None, None, None), 0.0), ((50,), 1.0)]
)
def test_success_rate_has_wilsons_interval(steps, rate):
    assert success_rate(solved_at(*steps)) == Estimate(rate, *wilson(rate, len(steps)), len(steps), INTERVAL)


@pytest.mark.parametrize(
    ("steps", "median"),
    [
        ((300, 100, 200), 200),
        ((100, 200), 150),
        ((100, None, 200), 200),
        ((100, None, None), None),
        ((100, None), None),
        ((None,), None),
        ((70,), 70),
    ],
)
def test_unsolved_runs_count_in_the_median(steps, median):
    assert median_to_solve(solved_at(*steps)) == median


def test_mean_of_five_or_more_has_students_interval():
    """Student's table: t = 2.776 for four degrees of freedom."""
    estimate = mean([0.5, 0.6, 0.7, 0.8, 0.9], 0, 1)
    half = 2.776 * np.std([5, 6, 7, 8, 9], ddof=1) / 10 / 5**0.5
    assert (estimate.value, estimate.kind) == (pytest.approx(0.7), INTERVAL)
    assert (estimate.low, estimate.high) == pytest.approx((0.7 - half, 0.7 + half), abs=1e-4)


def test_interval_is_cut_to_what_is_possible():
    estimate = mean([0.1, 1, 1, 1, 1], 0, 1)
    assert estimate.low < 0.5
    assert estimate.high == 1
    assert mean([0.1, 1, 1, 1, 1]).high > 1


def test_fewer_runs_have_a_range():
    assert mean([0.2, 0.9, 0.4]) == Estimate(0.5, 0.2, 0.9, 3, RANGE)
    assert mean([0.2, 0.9, 0.4]).bounds(".2f") == " (0.20 to 0.90)"
    assert mean([0.2, 0.9, 0.4, 0.5, 0.5]).bounds(".2f").startswith(" [")


def test_median_has_its_range():
    assert median([9.0, 1.0, 2.0, 3.0, 4.0]) == Estimate(3.0, 1.0, 9.0, 5, RANGE)
    assert median([0, 0, 0, 100]).value == 0
    assert median([10, 20]).value == 15


@pytest.mark.parametrize("estimate", [mean, median])
@pytest.mark.parametrize("runs", [1, 3, 10])
def test_runs_that_agree_have_no_bounds(estimate, runs):
    assert estimate([0.7] * runs) == Estimate(pytest.approx(0.7), None, None, runs)
    assert estimate([0.7] * runs).bounds(".2f") == ""


def test_accuracy_of_a_single_run_has_the_interval_of_its_test():
    runs = [{"test": {"accuracy": score, "sequences": 100}} for score in (0.5, 1.0)]
    assert accuracy(runs[:1]) == Estimate(0.5, *wilson(0.5, 100), 1, FINITE_TEST)
    assert accuracy(runs) == Estimate(0.75, 0.5, 1.0, 2, RANGE)


def test_accuracy_horizon():
    assert accuracy_horizon(measured_at(_10=1.0, _20=0.9, _40=0.89)) == 20
    assert accuracy_horizon(measured_at(_10=0.2, _20=0.95, _40=0.3)) == 20
    assert accuracy_horizon(measured_at(_10=0.5)) is None
    assert accuracy_horizon({"lag_curve": []}) is None


@pytest.mark.parametrize("statistic", [success_rate, median_to_solve, mean, median])
def test_nothing_has_no_statistics(statistic):
    with pytest.raises(ValueError, match="no runs"):
        statistic([])
