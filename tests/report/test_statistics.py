"""Intervals against published values, and what a set of runs comes to where the answer is known."""

import numpy as np
import pytest

from longlag.report.statistics import (
    Estimate,
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
    assert success_rate(solved_at(*steps)) == Estimate(rate, *wilson(rate, len(steps)), len(steps))


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


def test_mean_interval_of_many_values_is_the_normal_one():
    values = np.random.default_rng(1).normal(0.5, 0.1, 400)
    estimate = mean(values)
    error = values.std() / 20
    assert estimate.value == pytest.approx(values.mean())
    assert estimate.low == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert estimate.high == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)
    assert mean(values) == estimate


def test_median_lies_among_its_values():
    assert median([9.0, 1.0, 2.0]) == Estimate(2.0, 1.0, 9.0, 3)
    assert median([0, 0, 0, 100]).value == 0
    assert median([10, 20]).value == 15


@pytest.mark.parametrize("estimate", [mean, median])
def test_seeds_that_agree_and_a_single_seed(estimate):
    assert estimate([0.7, 0.7, 0.7]) == Estimate(pytest.approx(0.7), pytest.approx(0.7), pytest.approx(0.7), 3)
    assert estimate([0.7]) == Estimate(pytest.approx(0.7), None, None, 1)


def test_accuracy_horizon():
    assert accuracy_horizon(measured_at(_10=1.0, _20=0.9, _40=0.89)) == 20
    assert accuracy_horizon(measured_at(_10=0.2, _20=0.95, _40=0.3)) == 20
    assert accuracy_horizon(measured_at(_10=0.5)) is None
    assert accuracy_horizon({"lag_curve": []}) is None


@pytest.mark.parametrize("statistic", [success_rate, median_to_solve, mean, median])
def test_nothing_has_no_statistics(statistic):
    with pytest.raises(ValueError, match="no runs"):
        statistic([])
