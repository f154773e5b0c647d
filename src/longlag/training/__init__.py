"""One run's machinery: the Lightning module and trainer, what watches a run, checkpoints, limits, processes."""
