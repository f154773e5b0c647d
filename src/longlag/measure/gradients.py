"""The gradient over distance: how much of the loss at one step reaches the input and the state k steps earlier."""

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from longlag.models.check.copies import without_dropout
from longlag.models.network import Network, at_steps
from longlag.models.recurrent import Recurrent
from longlag.tasks.task import Batch, Task

SEQUENCES = 4  # number of sequences over which the norm is averaged
HORIZON = -3.0  # smallest log10 g(k) / g(0) at which the gradient counts as reaching distance k


class Profile(NamedTuple):
    """The gradient over distance at one training step.

    Attributes:
        step: training step.
        lag: lag of the task.
        norms: log10 g(k) at distances k = 0, 1, 2, …; -inf where the gradient is exactly zero.
        states: log10 norm of the gradient with respect to the recurrent state, by distance, at the distances of
            `points`; empty if the core has no state.
    """

    step: int
    lag: int
    norms: list[float]
    states: dict[int, float] = {}  # noqa: RUF012  (never written to)

    @property
    def farthest(self) -> int:
        """The lag, or the largest measured distance if that is smaller."""
        return min(self.lag, len(self.norms) - 1)

    @property
    def points(self) -> list[dict[str, Any]]:
        """Points for the record: `{step, distance, log10_norm}` at distances 0, 1, 2, 4, … and the lag; null for zero.

        If the core has a state, each point also has `log10_state_norm`.
        """
        points: list[dict[str, Any]] = []
        for k in _thinned(len(self.norms) - 1, self.lag):
            points.append({"step": self.step, "distance": k, "log10_norm": _finite(self.norms[k])})
            if self.states:
                points[-1]["log10_state_norm"] = _finite(self.states[k])
        return points

    @property
    def scalars(self) -> dict[str, Any]:
        """Summary values for the record, from distance 0 to the lag; null where undefined.

        decades_per_step: decay rate: minus the slope of log10 g(k), a least-squares fit over the non-zero values.
        half_life: number of steps over which the gradient halves at that rate; null if it does not decay.
        horizon: the largest distance at which the gradient is at least a thousandth of g(0).
        log10_over_lag: log10 g(lag) / g(0); the largest measured distance replaces the lag if it is smaller.
        state_log10_over_lag: the same for the gradient with respect to the state; null if the core has none.
        """
        within = np.array(self.norms[: self.farthest + 1])
        told = np.isfinite(within)  # distances with a non-zero gradient
        slope = float(np.polyfit(np.flatnonzero(told), within[told], 1)[0]) if told.sum() > 1 else math.nan
        reached = np.flatnonzero(told & (within - within[0] >= HORIZON)) if told[0] else np.array([])
        states = self.states or {0: -math.inf, self.farthest: -math.inf}
        return {
            "step": self.step,
            "decades_per_step": _finite(-slope),
            "half_life": _finite(-math.log10(2) / slope) if slope < 0 else None,
            "horizon": int(reached[-1]) if len(reached) else None,
            "log10_over_lag": _difference(self.norms[self.farthest], self.norms[0]),
            "state_log10_over_lag": _difference(states[self.farthest], states[0]),
        }


def gradient_over_distance(network: Network, task: Task, batch: Batch, step: int) -> Profile:
    """Measure g(k) = E ||dL_s / de_{s-k}||, e the encoder's output and L_s the loss at the task's probed step s.

    This works for any core, since it only differentiates with respect to the core's input. If the core has `unroll`
    (see `network.py`), E ||dL_s / d(h, C)_{s-k}|| is measured too. The computation is in float64 on the CPU, on a copy:
    the network is left unchanged.

    Args:
        network: any network.
        task: the task that computes the loss.
        batch: a batch of the task; the first few sequences are used.
        step: training step of the measurement, for the record.

    Returns:
        The profile, up to the largest distance that all sequences have.
    """
    few = Batch(*(part[:SEQUENCES] for part in batch.to("cpu")))
    few = few._replace(targets=few.targets[:, [task.probed]], steps=few.steps[:, [task.probed]])
    with torch.random.fork_rng(devices=[]), torch.enable_grad():  # in case a core draws random numbers even so
        return Profile(step, task.lag, *_log10_norms(_probe(network), task, few))


def scheduled(step: int) -> bool:
    """Whether the gradient is measured at a training step: 1, 3, 10, 30, 100, …"""
    digits = str(step)
    return digits[0] in "13" and not digits[1:].strip("0") and step > 0


def _probe(network: Network) -> Network:
    """A float64 copy in training mode (cuDNN and oneDNN give no gradient in evaluation mode), with dropout off."""
    copy = without_dropout(network).train()
    if isinstance(copy.core, Recurrent):
        copy.core.kernels = "fused"  # the same function, in half the time of torch's layers in float64
    return copy


def _log10_norms(network: Network, task: Task, batch: Batch) -> tuple[list[float], dict[int, float]]:
    """log10 g(k) for the inputs and for the states, up to the largest distance that all sequences have.

    The distance is counted from each sequence's own probed step s = `batch.steps` (batch, 1).
    """
    s = batch.steps
    inputs = batch.inputs[:, : int(s.max()) + 1]
    embedded = network.encoder(inputs if task.tokens else inputs.double()).detach().requires_grad_()
    distances = _thinned(int(s.min()), task.lag)
    hidden, states = _unroll(network.core, embedded, {int(end) - k for end in s for k in distances})
    probed = at_steps(hidden, s)
    loss = task.measure(network.head(probed), batch)["loss"].sum()  # each sequence's gradient is its own
    parts = [part for state in states.values() for part in state]
    # `probed` is the core's output at s: its gradient stands for that of the state at distance 0.
    gradients = iter(torch.autograd.grad(loss, [embedded, probed, *parts], materialize_grads=True))
    by_input, at_s = log10_norm(next(gradients)), log10_norm(next(gradients)[:, 0])
    by_state = {step: log10_norm(_joined([next(gradients) for _ in state])) for step, state in states.items()}
    norms = _log10_mean(by_input.gather(1, s - torch.arange(int(s.min()) + 1))).tolist()
    if not states:
        return norms, {}
    back = {k: torch.stack([by_state[int(end) - k][row] for row, end in enumerate(s)]) for k in distances if k}
    return norms, {k: float(_log10_mean(each)) for k, each in ({0: at_s} | back).items()}


def _unroll(core: nn.Module, embedded: Tensor, steps: Iterable[int]) -> tuple[Tensor, dict[int, tuple[Tensor, ...]]]:
    """The core's outputs, and its state after each of the given steps; no states if the core has no `unroll`.

    The largest of the steps must be the last time step.
    """
    unroll = getattr(core, "unroll", None)
    if unroll is None:
        return core(embedded), {}
    hidden, states, state = [], {}, None
    for first, last in pairwise([-1, *sorted(steps)]):
        outputs, state = unroll(embedded[:, first + 1 : last + 1], state)
        hidden.append(outputs)
        states[last] = (state,) if isinstance(state, Tensor) else tuple(state)
    return torch.cat(hidden, dim=1), states


def _joined(state: list[Tensor]) -> Tensor:
    """Concatenate h, or h and C, each (layers, batch, hidden_size) -> (batch, all units)."""
    return torch.cat([part.transpose(0, 1).flatten(1) for part in state], dim=1)


def _thinned(reach: int, lag: int) -> list[int]:
    """Distances 0, 1, 2, 4, … up to `reach`, and the lag, or `reach` if that is smaller."""
    return sorted({0, min(lag, reach)} | {2**power for power in range(reach.bit_length())})


def _log10_mean(norms: Tensor) -> Tensor:
    """log10 of the mean over the first dimension of values given as log10, computed without underflow."""
    return torch.logsumexp(norms * math.log(10), dim=0) / math.log(10) - math.log10(len(norms))


def _difference(far: float, near: float) -> float | None:
    return _finite(far - near) if math.isfinite(near) else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def log10_norm(vectors: Tensor) -> Tensor:
    """log10 of the Euclidean norm over the last dimension, -inf for zero; scaling prevents underflow of the squares."""
    scale = vectors.abs().amax(-1, keepdim=True).clamp_min(torch.finfo(vectors.dtype).tiny)
    return scale.squeeze(-1).log10() + (vectors / scale).norm(dim=-1).log10()
