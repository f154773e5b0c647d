"""What is measured of a network: accuracy over lags, the gradient over distance, gates, cost."""
