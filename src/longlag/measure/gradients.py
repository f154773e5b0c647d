"""The gradient over distance: how much of the loss at one step reaches the input k steps earlier."""

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

from longlag.network import Network
from longlag.tasks.task import Batch, Task

SEQUENCES = 4  # the norm is averaged over them


def gradient_over_distance(network: Network, task: Task, batch: Batch, step: int) -> list[dict[str, Any]]:
    """g(k) = E ||dL_s / de_{s-k}||, e the read-in's output, for the loss L_s at the first scored step s.

    For any core, since it differentiates by what goes into it. In float64 on the CPU, on a copy of the network, which
    is left as it was.

    Args:
        network: any.
        task: scores it.
        batch: sequences that share their first scored step.
        step: training step at which this is measured, for the record.

    Returns:
        `{step, distance, log10_norm}` at distances 0, 1, 2, 4, … and at the task's lag; null where the gradient is
        exactly zero.
    """
    norms = _log10_norms(_probe(network), task, batch)  # index = distance
    distances = sorted({0, task.lag} | {2**power for power in range(len(norms).bit_length())})
    return [
        {"step": step, "distance": k, "log10_norm": norms[k] if math.isfinite(norms[k]) else None}
        for k in distances
        if k < len(norms)
    ]


def _probe(network: Network) -> Network:
    """A float64 copy in training mode (cuDNN and oneDNN give no gradient in the other), with dropout off."""
    probe = copy.deepcopy(network).to("cpu", torch.float64).train()
    for module in probe.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif isinstance(module, nn.RNNBase):
            module.dropout = 0.0
    return probe


def _log10_norms(network: Network, task: Task, batch: Batch) -> list[float]:
    first = Batch(*(part[:SEQUENCES] for part in batch.to("cpu")))
    first = first._replace(targets=first.targets[:, :1], steps=first.steps[:, :1])
    inputs = first.inputs if task.tokens else first.inputs.double()
    embedded = network.read_in(inputs).detach().requires_grad_()
    hidden = network.core(embedded)  # (sequences, time, hidden_size)
    scored = int(first.steps[0, 0])
    outputs = network.read_out(hidden[:, scored : scored + 1])
    with torch.enable_grad():
        loss = task.measure(outputs, first)["loss"].sum()  # each sequence's gradient is its own
    (gradient,) = torch.autograd.grad(loss, embedded)
    per_step = log10_norm(gradient[:, : scored + 1])  # (sequences, time)
    mean = torch.logsumexp(per_step * math.log(10), dim=0) / math.log(10) - math.log10(len(per_step))
    return mean.flip(0).tolist()


def log10_norm(vectors: Tensor) -> Tensor:
    """log10 of the Euclidean norm over the last dimension, -inf for a zero; squares cannot underflow."""
    largest = vectors.abs().amax(-1, keepdim=True)
    scaled = vectors / largest.clamp_min(torch.finfo(vectors.dtype).tiny)
    return largest.squeeze(-1).log10() + scaled.norm(dim=-1).clamp_min(1e-300).log10()
