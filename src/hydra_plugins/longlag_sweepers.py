"""Where Hydra looks for sweepers; what it does stands in `longlag.horizon`."""

from longlag import horizon


class Horizon(horizon.Horizon):
    """The largest lag that a model learns, by search."""
