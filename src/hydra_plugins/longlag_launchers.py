"""Where Hydra looks for launchers; what they do stands in `longlag.sweeps`."""

from longlag.sweeps import clusters, launcher, workers


class InProcess(launcher.InProcess):
    """The cells of a sweep one after another."""


class Processes(workers.Processes):
    """The cells of a sweep side by side, in worker processes."""


class SubmititSlurm(clusters.SubmititSlurm):
    """The cells of a sweep as jobs of Slurm."""


class SubmititLocal(clusters.SubmititLocal):
    """The same on this machine, to try it."""


class Ray(clusters.Ray):
    """The cells of a sweep as tasks of Ray."""
