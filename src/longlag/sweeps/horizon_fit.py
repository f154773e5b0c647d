"""The chance that a run is solved as a curve over the lag: what trials say about it, and which trial would say most.

The curve falls with the lag; that is assumed, not found:

    P(solved | lag) = LAPSE + (1 - 2 LAPSE) / (1 + (lag / horizon)^(1 / spread))

At the horizon, half of the runs are solved. The spread is small where runs up to the horizon are all solved and none
beyond, large where the seed decides over a wide range of lags. Nothing is maximised: every pair of a horizon and a
spread on a grid has a weight, its posterior probability. So all solved lags may be shorter than all others.

Sources: the grid, and the choice of the trial whose result is expected to leave the smallest entropy, are the psi
method of Kontsevich & Tyler (Vision Research 39:2729, 1999). That the entropy is of the horizon alone, with the spread
summed out, is from Prins (Journal of Vision 13(7):3, 2013); that a few trials end against the curve is from Wichmann &
Hill (Perception & Psychophysics 63:1293, 2001, equation 1). The priors are ours, chosen by the simulation in the tests.
"""

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Weights = NDArray[np.float64]  # (horizons, spreads), sums to one

LAPSE = 0.02  # share of runs that are solved at any lag, and share that is not: the odd lucky run moves little
SPREADS = (0.05, 2.0)  # least and largest, log-uniform: solved by 9 in 10 to 1 in 10 within a factor 1.25, or 7000
SPREADS_TRIED = 10
BEYOND = 1.0  # the horizon may lie this far outside of the lags that may be tried, in nats of log lag
STEP = (0.005, 0.045)  # smallest and largest step between two horizons of the grid, in nats of log lag
A_DOUBLING = 6  # lags that may be tried in each doubling


class Curves:
    """All curves of the grid, uniform in log horizon and in log spread.

    Args:
        first_lag, max_lag: the smallest and the largest lag that may be tried.
        resolution: the factor within which the horizon is wanted; the grid is four times as fine, within `STEP`.

    Attributes:
        lags: the lags that may be tried, evenly spaced on a log scale.
        prior: the weights before any trial.
    """

    def __init__(self, first_lag: int, max_lag: int, resolution: float):
        low, high = math.log(first_lag), math.log(max_lag)
        step = min(max(math.log(resolution) / 4, STEP[0]), STEP[1])
        horizons = math.ceil((high - low + 2 * BEYOND) / step) + 1
        self._horizons = np.linspace(low - BEYOND, high + BEYOND, horizons)  # logs
        self._spreads = np.geomspace(*SPREADS, SPREADS_TRIED)
        tried = round((high - low) / math.log(2) * A_DOUBLING) + 1
        self.lags: list[int] = np.unique(np.geomspace(first_lag, max_lag, tried).round()).astype(int).tolist()
        self.prior: Weights = np.full((horizons, SPREADS_TRIED), 1 / (horizons * SPREADS_TRIED))

    def chances(self, lags: Sequence[float]) -> NDArray[np.float64]:
        """P(solved) of every curve, (lags, horizons, spreads)."""
        apart = self._horizons[None, :, None] - np.log(lags)[:, None, None]
        chances: NDArray[np.float64] = LAPSE + (1 - 2 * LAPSE) * expit(apart / self._spreads)
        return chances

    def told(self, weights: Weights, lag: int, solved: float) -> Weights:
        """The weights after a trial, by Bayes's rule. A share between 0 and 1 counts as that much of a solved one."""
        chance = self.chances([lag])[0]
        likely = weights * chance**solved * (1 - chance) ** (1 - solved)
        return likely / likely.sum()

    def most_informative(self, weights: Weights, low: int, high: int) -> int | None:
        """The lag from `low` to `high` whose trial is expected to leave the smallest entropy of the horizon.

        None if there is no lag to try in this range.
        """
        solved = (self._chances_by_horizon @ weights[:, :, None])[:, :, 0]  # (horizons, lags): joint probabilities
        unsolved = weights.sum(1)[:, None] - solved
        left = _entropy(solved) + _entropy(unsolved)
        inside = [number for number, lag in enumerate(self.lags) if low <= lag <= high]
        return self.lags[min(inside, key=lambda number: left[number])] if inside else None

    @cached_property
    def _chances_by_horizon(self) -> NDArray[np.float64]:
        """`chances` of the lags that may be tried, (horizons, lags, spreads)."""
        return np.ascontiguousarray(self.chances(self.lags).transpose(1, 0, 2))

    def quantile(self, weights: Weights, share: float) -> float:
        """The lag below which the horizon lies with this probability."""
        step = self._horizons[1] - self._horizons[0]
        edges = np.append(self._horizons - step / 2, self._horizons[-1] + step / 2)
        return float(np.exp(np.interp(share, np.append(0, weights.sum(1).cumsum()), edges)))

    def mean(self, weights: Weights, lags: Sequence[float]) -> NDArray[np.float64]:
        """The expected P(solved) at each lag."""
        expected: NDArray[np.float64] = np.tensordot(self.chances(lags), weights, axes=2)
        return expected

    def quantiles(self, weights: Weights, lags: Sequence[float], share: float) -> NDArray[np.float64]:
        """The value below which P(solved) lies with this probability, at each lag."""
        chances = self.chances(lags).reshape(len(lags), -1)
        order = chances.argsort(axis=1)
        reached = weights.ravel()[order].cumsum(axis=1) >= share
        picked = np.take_along_axis(order, reached.argmax(axis=1)[:, None], axis=1)
        return np.take_along_axis(chances, picked, axis=1)[:, 0]


def _entropy(joint: NDArray[np.float64]) -> NDArray[np.float64]:
    """P(result) times the entropy of the horizon given the result, for each lag, from (horizons, lags)."""
    result = joint.sum(axis=0)
    entropy: NDArray[np.float64] = -(joint * np.log(np.maximum(joint, 1e-300) / result)).sum(axis=0)
    return entropy
