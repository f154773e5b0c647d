"""The gradient over distance: how much of the loss at one step reaches the input k steps earlier."""

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from longlag.network import Network
from longlag.tasks.task import Batch, Task

SEQUENCES = 4  # the norm is averaged over them


def gradient_over_distance(network: Network, task: Task, batch: Batch, step: int) -> list[dict[str, Any]]:
    """g(k) = E ||dL_s / de_{s-k}||, e the read-in's output, L_s the loss at the step s that the task has probed.

    For any core, since it differentiates by what goes into it. In float64 on the CPU, on a copy of the network, which
    is left as it was.

    Args:
        network: any.
        task: scores it.
        batch: of the task; the first few sequences are used.
        step: training step at which this is measured, for the record.

    Returns:
        `{step, distance, log10_norm}` at distances 0, 1, 2, 4, … and at the task's lag (or the farthest there is); null
        where the gradient is exactly zero.
    """
    with torch.random.fork_rng(devices=[]):  # should a core draw from it all the same
        norms = _log10_norms(_probe(network), task, batch)  # index = distance
    farthest = len(norms) - 1
    distances = sorted({0, min(task.lag, farthest)} | {2**power for power in range(farthest.bit_length())})
    return [
        {"step": step, "distance": k, "log10_norm": norms[k] if math.isfinite(norms[k]) else None} for k in distances
    ]


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


def log10_norm(vectors: Tensor) -> Tensor:
    """log10 of the Euclidean norm over the last dimension, -inf for a zero; squares cannot underflow."""
    scale = vectors.abs().amax(-1, keepdim=True).clamp_min(torch.finfo(vectors.dtype).tiny)
    return scale.squeeze(-1).log10() + (vectors / scale).norm(dim=-1).log10()
