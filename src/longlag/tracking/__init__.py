"""Logs runs, sweeps and reports to Weights & Biases and other loggers. Every result is also stored in the records."""
