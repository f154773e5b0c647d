"""Intervals against published values."""

import pytest

from longlag.report.statistics import wilson


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
