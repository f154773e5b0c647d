"""The curves that trials are fitted with: what they assume, and what a trial tells."""

import math

import numpy as np
import pytest

from longlag.sweeps.horizon_fit import LAPSE, Curves


@pytest.fixture
def curves() -> Curves:
    return Curves(4, 2048, 1.2)


def after(curves: Curves, *told: tuple[int, float]) -> np.ndarray:
    weights = curves.prior
    for lag, solved in told:
        weights = curves.told(weights, lag, solved)
    return weights


def test_the_chance_falls_with_the_lag_and_is_half_at_the_horizon(curves: Curves):
    chances = curves.chances([4, 40, 400])
    assert (np.diff(chances, axis=0) <= 0).all()
    assert chances.min() >= LAPSE
    assert chances.max() <= 1 - LAPSE
    at = len(chances[0]) // 2
    lag = curves.quantile(np.eye(len(chances[0]))[at][:, None] * np.ones(10) / 10, 0.5)
    assert curves.chances([lag])[0, at] == pytest.approx(0.5)


def test_what_no_trial_has_told(curves: Curves):
    assert curves.quantile(curves.prior, 0.5) == pytest.approx(math.sqrt(4 * 2048))
    assert curves.quantile(curves.prior, 0.025) < 4
    assert curves.quantile(curves.prior, 0.975) > 2048


def test_separated_trials_have_an_estimate(curves: Curves):
    """All solved up to 32, none from 64 on: the likelihood has no maximum, and still there is an interval."""
    weights = after(curves, *((lag, lag <= 32) for lag in (8, 16, 32, 64, 128, 256) for _ in range(3)))
    low, middle, high = (curves.quantile(weights, share) for share in (0.025, 0.5, 0.975))
    assert 16 < low < 32 < middle < 64 < high < 128


def test_trials_count_in_any_order(curves: Curves):
    told = [(8, 1.0), (100, 0.0), (30, 1.0), (40, 0.0)]
    assert after(curves, *told) == pytest.approx(after(curves, *reversed(told)))


def test_one_lucky_trial_moves_little(curves: Curves):
    told = [(lag, lag <= 32) for lag in (8, 16, 32, 64, 128) for _ in range(4)]
    usual, lucky = (curves.quantile(after(curves, *trials), 0.5) for trials in (told, [*told, (256, True)]))
    assert lucky == pytest.approx(usual, rel=0.05)


def test_the_next_trial_goes_where_the_fit_is_least_sure(curves: Curves):
    assert curves.most_informative(curves.prior, 4, 2048) == pytest.approx(90, rel=0.3)
    weights = after(curves, *((lag, lag <= 32) for lag in (8, 16, 32, 64, 128) for _ in range(3)))
    assert 32 < curves.most_informative(weights, 4, 2048) < 64
    assert curves.most_informative(weights, 4, 16) == 16
    assert curves.most_informative(weights, 4, 3) is None


def test_the_expected_entropy_is_that_of_both_results():
    """Against a plain computation, result by result."""
    curves = Curves(4, 16, 1.2)
    weights = after(curves, (4, 1), (16, 0))
    left = {}
    for lag in curves.lags:
        chance = float(curves.mean(weights, [lag])[0])
        for result, share in ((1, chance), (0, 1 - chance)):
            of_horizon = curves.told(weights, lag, result).sum(1)
            left[lag] = left.get(lag, 0) - share * float((of_horizon * np.log(of_horizon)).sum())
    assert curves.most_informative(weights, 4, 16) == min(left, key=left.get)


def test_the_band_of_the_curve_holds_its_mean(curves: Curves):
    weights = after(curves, (8, 1), (16, 1), (64, 0), (128, 0))
    lags = [4, 8, 16, 32, 64, 128, 256]
    low, high = (curves.quantiles(weights, lags, share) for share in (0.025, 0.975))
    mean = curves.mean(weights, lags)
    assert ((low <= mean) & (mean <= high)).all()


def test_a_single_lag_may_be_tried():
    assert Curves(7, 7, 1.2).lags == [7]
    assert Curves(4, 2048, 1.2).lags[:3] == [4, 5, 6]


def test_the_grid_stays_small():
    assert Curves(4, 2048, 1.000001).prior.size < 20_000
