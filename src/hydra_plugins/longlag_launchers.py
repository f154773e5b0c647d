"""Where Hydra looks for launchers; what they do stands in `longlag.sweeps`."""

from longlag.sweeps import clusters, launcher, workers


class InProcess(launcher.InProcess):
    """The runs of a sweep one after another."""


class Processes(workers.Processes):
    """The runs of a sweep side by side, in worker processes."""


class SubmititSlurm(clusters.SubmititSlurm):
    """The runs of a sweep as jobs of Slurm."""


class SubmititLocal(clusters.SubmititLocal):
    """The same on this machine, to try it."""


class Ray(clusters.Ray):
    """The runs of a sweep as tasks of Ray."""
