"""Measurements of a network: accuracy over lags, the gradient over distance, gates and cost."""
