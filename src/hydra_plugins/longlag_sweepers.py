"""Where Hydra looks for sweepers; what they do stands in `longlag.sweeps`."""

from longlag.sweeps import horizon_sweeper


class Horizon(horizon_sweeper.Horizon):
    """The largest lag that a model learns, by search."""
