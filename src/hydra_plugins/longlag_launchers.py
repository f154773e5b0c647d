"""Where Hydra looks for launchers; what they do stands in `longlag.sweep` and `longlag.workers`."""

from longlag import sweep, workers


class InProcess(sweep.InProcess):
    """The cells of a sweep one after another."""


class Processes(workers.Processes):
    """The cells of a sweep side by side, in worker processes."""
