"""Statistics of records. Needs no torch."""

from scipy.stats import binomtest


def wilson(fraction: float, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval (1927) for `fraction` of `trials` independent trials, to the nearest success."""
    interval = binomtest(round(fraction * trials), trials).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)
