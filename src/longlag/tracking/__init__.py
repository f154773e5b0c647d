"""Weights & Biases and other loggers: one run, a sweep, a W&B Report. Never the only copy of a result."""
