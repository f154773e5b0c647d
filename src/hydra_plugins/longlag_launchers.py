"""Where Hydra looks for launchers; what they do stands in `longlag.sweep`."""

from longlag import sweep


class InProcess(sweep.InProcess):
    """The cells of a sweep one after another."""


class Processes(sweep.Processes):
    """The cells of a sweep side by side, in worker processes."""
