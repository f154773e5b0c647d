"""The gradient over distance: how much of the loss at one step reaches the input k steps earlier."""

import copy
import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from longlag.network import Network
from longlag.tasks.task import Batch, Task

SEQUENCES = 4  # the norm is averaged over them
HORIZON = -3.0  # log10 g(k) / g(0) down to which a gradient counts as reaching k


class Profile(NamedTuple):
    """The gradient over distance at one step of the training.

    Attributes:
        step: of the training.
        lag: of the task.
        norms: log10 g(k) at distances k = 0, 1, 2, …; -inf where the gradient is exactly zero.
    """

    step: int
    lag: int
    norms: list[float]

    @property
    def farthest(self) -> int:
        """The lag, or the largest distance there is below it."""
        return min(self.lag, len(self.norms) - 1)

    @property
    def points(self) -> list[dict[str, Any]]:
        """For the record: `{step, distance, log10_norm}` at distances 0, 1, 2, 4, … and at the lag; null for a zero."""
        distances = {0, self.farthest} | {2**power for power in range((len(self.norms) - 1).bit_length())}
        return [{"step": self.step, "distance": k, "log10_norm": _finite(self.norms[k])} for k in sorted(distances)]

    @property
    def scalars(self) -> dict[str, Any]:
        """For the record: what the profile comes to from distance 0 to the lag; null where it cannot be told.

        decades_per_step: how fast it falls: minus the slope of log10 g(k), by least squares over what is not zero.
        half_life: steps over which it halves at that rate; null where it does not fall.
        horizon: the largest distance at which it is at least a thousandth of g(0).
        log10_over_lag: log10 g(lag) / g(0), or of the largest distance there is.
        """
        within = np.array(self.norms[: self.farthest + 1])
        told = np.isfinite(within)
        slope = float(np.polyfit(np.flatnonzero(told), within[told], 1)[0]) if told.sum() > 1 else math.nan
        reached = np.flatnonzero(told & (within - within[0] >= HORIZON)) if told[0] else np.array([])
        return {
            "step": self.step,
            "decades_per_step": _finite(-slope),
            "half_life": _finite(-math.log10(2) / slope) if slope < 0 else None,
            "horizon": int(reached[-1]) if len(reached) else None,
            "log10_over_lag": _finite(float(within[-1] - within[0])) if told[0] else None,
        }


def gradient_over_distance(network: Network, task: Task, batch: Batch, step: int) -> Profile:
    """g(k) = E ||dL_s / de_{s-k}||, e the read-in's output, L_s the loss at the step s that the task has probed.

    For any core, since it differentiates by what goes into it. In float64 on the CPU, on a copy of the network, which
    is left as it was.

    Args:
        network: any.
        task: scores it.
        batch: of the task; the first few sequences are used.
        step: training step at which this is measured, for the record.

    Returns:
        The profile, as far back as every sequence reaches.
    """
    with torch.random.fork_rng(devices=[]):  # should a core draw from it all the same
        return Profile(step, task.lag, _log10_norms(_probe(network), task, batch))


def scheduled(step: int) -> bool:
    """Whether the gradient is measured at a step of the training: 1, 3, 10, 30, 100, …"""
    digits = str(step)
    return digits[0] in "13" and not digits[1:].strip("0") and step > 0


def _probe(network: Network) -> Network:
    """A float64 copy in training mode (cuDNN and oneDNN give no gradient in the other), with dropout off."""
    probe = copy.deepcopy(network).to("cpu", torch.float64).train()
    for module in probe.modules():
        if isinstance(module, _DropoutNd):
            module.p = 0.0
        elif isinstance(module, nn.RNNBase):
            module.dropout = 0.0
    return probe


def _log10_norms(network: Network, task: Task, batch: Batch) -> list[float]:
    """log10 g(k), k = 0, 1, … as far back as every sequence reaches; each counts from its own probed step."""
    few = Batch(*(part[:SEQUENCES] for part in batch.to("cpu")))
    few = few._replace(targets=few.targets[:, [task.probed]], steps=few.steps[:, [task.probed]])
    inputs = few.inputs if task.tokens else few.inputs.double()
    with torch.enable_grad():
        embedded = network.read_in(inputs).detach().requires_grad_()
        loss = task.measure(network.from_embedded(embedded, few.steps), few)["loss"]
        total = loss.sum()  # each sequence's gradient is its own
    (gradient,) = torch.autograd.grad(total, embedded)
    distance = torch.arange(int(few.steps.min()) + 1)
    per_step = log10_norm(gradient).gather(1, few.steps - distance)  # (sequences, distances)
    mean = torch.logsumexp(per_step * math.log(10), dim=0) / math.log(10) - math.log10(len(per_step))
    return mean.tolist()


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def log10_norm(vectors: Tensor) -> Tensor:
    """log10 of the Euclidean norm over the last dimension, -inf for a zero; squares cannot underflow."""
    scale = vectors.abs().amax(-1, keepdim=True).clamp_min(torch.finfo(vectors.dtype).tiny)
    return scale.squeeze(-1).log10() + (vectors / scale).norm(dim=-1).log10()
