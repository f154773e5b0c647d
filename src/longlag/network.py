"""Read-in, core, read-out: the same for every model; the sizes come from the task."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longlag.tasks.task import Task

ONE_HOT_UP_TO = 128  # symbols; a larger vocabulary gets a learned embedding
EMBEDDING = 64  # its width


class Network(nn.Module):
    """A core between a task's inputs and its outputs.

    Args:
        task: publishes `tokens` or `features`, and `outputs`.
        make_core: given `input_size`, makes the core: a module with `hidden_size` whose `forward` maps
            (batch, time, input_size) -> (batch, time, hidden_size), causally and at any length. A recurrent core may
            also have `unroll(x, state=None) -> (outputs, state)`, from a state on; the gradient in its state is
            then measured too (see `models/recurrent.py`).
    """

    def __init__(self, task: Task, make_core: Callable[..., nn.Module]):
        super().__init__()
        self.read_in = _read_in(task)
        self.core = make_core(input_size=self.read_in.size)
        self.read_out = nn.Linear(_hidden_size(self.core), task.outputs)

    def forward(self, inputs: Tensor, steps: Tensor) -> Tensor:
        """Inputs (batch, time, …), steps (batch, scored) -> outputs (batch, scored, outputs).

        The read-out runs on the scored steps alone.
        """
        hidden = self.core(self.read_in(inputs))  # (batch, time, hidden_size)
        return self.read_out(at_steps(hidden, steps))


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


def _hidden_size(core: nn.Module) -> int:
    size = getattr(core, "hidden_size", None)
    if not isinstance(size, int):
        raise ValueError(f"the core {type(core).__name__} must publish hidden_size, the width of its outputs")
    return size
