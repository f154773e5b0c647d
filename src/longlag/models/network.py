"""Read-in, core, read-out: the same for every model; the sizes come from the task."""

import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longlag.models.check import shapes
from longlag.models.check.check import check_core
from longlag.tasks.task import Task

ONE_HOT_UP_TO = 128  # symbols; a larger vocabulary gets a learned embedding
EMBEDDING = 64  # its width
SEQUENCES = 4  # whose real values the core is checked on


class Checked(NamedTuple):
    """What the check of a core has found, where it found nothing wrong.

    exact: whether the core runs in float64 on the CPU, as the gradient over distance is measured.
    seconds: that the check took, of the clock.
    """

    exact: bool
    seconds: float


class Network(nn.Module):
    """A core between a task's inputs and its outputs.

    Args:
        task: publishes `tokens` or `features`, and `outputs`.
        make_core: given `input_size`, makes the core: a module with `hidden_size` whose `forward` maps
            (batch, time, input_size) -> (batch, time, hidden_size), causally, at any length, and each sequence of a
            batch by itself. A recurrent core may also have `unroll(x, state=None) -> (outputs, state)`, from a state
            on, each part of it (layers, batch, hidden_size); the gradient in its state is then measured too (see
            `models/recurrent.py`).

    Raises:
        ValueError: where the core does not take `input_size` or does not publish `hidden_size`.
    """

    def __init__(self, task: Task, make_core: Callable[..., nn.Module]):
        super().__init__()
        self.read_in = _read_in(task)
        self.core = shapes.made(make_core, self.read_in.size)
        self.read_out = nn.Linear(shapes.hidden_size(self.core), task.outputs)

    def forward(self, inputs: Tensor, steps: Tensor) -> Tensor:
        """Inputs (batch, time, …), steps (batch, scored) -> outputs (batch, scored, outputs).

        The read-out runs on the scored steps alone.
        """
        hidden = self.core(self.read_in(inputs))  # (batch, time, hidden_size)
        return self.read_out(at_steps(hidden, steps))

    def check(self, task: Task, lags: Iterable[int], device: torch.device) -> Checked:
        """Hold the core to its contract, before it trains; see `models/check/`.

        Args:
            task: that it is to be trained on.
            lags: that it is to be tested at, beside the task's own.
            device: that it is to run on.

        Raises:
            ValueError: in one line, where the core does not keep the contract.
        """
        started = time.monotonic()
        longest = max(at.length for at in (task, *map(task.on_curve, lags)))
        exact = check_core(self.core, self._vectors(task), longest, device)
        return Checked(exact, time.monotonic() - started)

    @torch.no_grad()
    def _vectors(self, task: Task) -> Tensor:
        """What a step of the core's inputs can be, (kinds, input_size)."""
        if task.tokens is not None:
            return self.read_in(torch.arange(task.tokens))
        inputs = task.part("train").batch(SEQUENCES, np.random.default_rng(0)).inputs
        return inputs.flatten(0, 1).unique(dim=0)


def at_steps(hidden: Tensor, steps: Tensor) -> Tensor:
    """(batch, time, hidden_size) at steps (batch, scored) -> (batch, scored, hidden_size)."""
    return hidden.gather(1, steps[..., None].expand(-1, -1, hidden.shape[-1]))


class OneHot(nn.Module):
    """Tokens (batch, time) -> one-hot vectors (batch, time, tokens). No parameters."""

    def __init__(self, tokens: int):
        super().__init__()
        self.size = tokens
        self.register_buffer("vectors", torch.eye(tokens), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Look the vectors up."""
        return F.embedding(tokens, self.get_buffer("vectors"))


class Embedding(nn.Embedding):
    """Tokens (batch, time) -> learned vectors (batch, time, size)."""

    def __init__(self, tokens: int):
        super().__init__(tokens, EMBEDDING)
        self.size = EMBEDDING


class Features(nn.Identity):
    """Real values (batch, time, features), as they are."""

    def __init__(self, features: int):
        super().__init__()
        self.size = features


def _read_in(task: Task) -> OneHot | Embedding | Features:
    if task.tokens is None:
        assert task.features is not None, "a task publishes tokens or features"
        return Features(task.features)
    return OneHot(task.tokens) if task.tokens <= ONE_HOT_UP_TO else Embedding(task.tokens)
