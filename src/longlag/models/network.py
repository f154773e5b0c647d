"""The network: encoder, core and head. It is the same for every model; the task determines its widths."""

import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longlag.models.check import shapes
from longlag.models.check.check import check_core
from longlag.tasks.task import Task

ONE_HOT_UP_TO = 128  # symbols; a larger vocabulary gets an embedding
EMBEDDING = 64  # width of an embedding
LEARNED, FIXED = "learned", "fixed"  # the kinds of embedding
FORMER_NAMES = {"encoder": "read_in", "head": "read_out"}  # names in checkpoints of longlag 0.1
SEQUENCES = 4  # for a task with real values, the core is checked on the values of this many sequences


class Checked(NamedTuple):
    """The result of a successful check of a core.

    exact: whether the core runs in float64 on the CPU, which the gradient over distance requires.
    seconds: wall seconds that the check took.
    """

    exact: bool
    seconds: float


class Network(nn.Module):
    """A core between a task's encoder and head.

    Args:
        task: gives `tokens` or `features`, and `outputs`.
        make_core: makes the core from `input_size`. A core is a module with `hidden_size` whose `forward` maps
            (batch, time, input_size) -> (batch, time, hidden_size) causally, at any length, each sequence of a batch
            independently. A recurrent core may also have `unroll(x, state=None) -> (outputs, state)`, which starts
            from a given state; each part of the state is (layers, batch, hidden_size). The gradient with respect to
            its state is then measured too (see `models/recurrent.py`).
        embedding: how more than 128 symbols are read: `learned` or `fixed`.
        seed: seed of the vectors of a fixed embedding.

    Raises:
        ValueError: if the core does not accept `input_size` or has no valid `hidden_size`.
    """

    def __init__(self, task: Task, make_core: Callable[..., nn.Module], embedding: str = LEARNED, seed: int = 0):
        super().__init__()
        self.encoder = _encoder(task, embedding, seed)
        self.core = shapes.made(make_core, self.encoder.size)
        self.head = nn.Linear(shapes.hidden_size(self.core), task.outputs)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        """Load as torch does, after renaming the weights of longlag 0.1 checkpoints."""
        for now, before in FORMER_NAMES.items():
            for key in [key for key in state_dict if key.startswith(f"{prefix}{before}.")]:
                state_dict[f"{prefix}{now}.{key.removeprefix(f'{prefix}{before}.')}"] = state_dict.pop(key)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def forward(self, inputs: Tensor, steps: Tensor) -> Tensor:
        """Inputs (batch, time, …), steps (batch, scored) -> outputs (batch, scored, outputs).

        The head runs at the scored steps only.
        """
        hidden = self.core(self.encoder(inputs))  # (batch, time, hidden_size)
        return self.head(at_steps(hidden, steps))

    def check(self, task: Task, lags: Iterable[int], device: torch.device) -> Checked:
        """Check that the core keeps its contract, before it trains; see `models/check/`.

        Args:
            task: the task that the core will be trained on.
            lags: the lags that it will be tested at, in addition to the task's own.
            device: the device that it will run on.

        Raises:
            ValueError: if the core violates the contract; the message is one line.
        """
        started = time.monotonic()
        longest = max(at.length for at in (task, *map(task.on_curve, lags)))
        exact = check_core(self.core, self._vectors(task), longest, device)
        return Checked(exact, time.monotonic() - started)

    @torch.no_grad()
    def _vectors(self, task: Task) -> Tensor:
        """Possible inputs of the core at a single step, (kinds, input_size)."""
        if task.tokens is not None:
            return self.encoder(torch.arange(task.tokens))
        inputs = task.part("train").batch(SEQUENCES, np.random.default_rng(0)).inputs
        return inputs.flatten(0, 1).unique(dim=0)


def at_steps(hidden: Tensor, steps: Tensor) -> Tensor:
    """Select the steps (batch, scored) of (batch, time, hidden_size) -> (batch, scored, hidden_size)."""
    return hidden.gather(1, steps[..., None].expand(-1, -1, hidden.shape[-1]))


class OneHot(nn.Module):
    """Tokens (batch, time) -> one-hot vectors (batch, time, tokens). No parameters."""

    kind = "one-hot"

    def __init__(self, tokens: int):
        super().__init__()
        self.size = tokens
        self.register_buffer("vectors", torch.eye(tokens), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Look up the vector of each token."""
        return F.embedding(tokens, self.get_buffer("vectors"))


class Embedding(nn.Embedding):
    """Tokens (batch, time) -> learned vectors (batch, time, size). A parameter for each symbol and dimension."""

    kind = "learned embedding"

    def __init__(self, tokens: int):
        super().__init__(tokens, EMBEDDING)
        self.size = EMBEDDING


class FixedEmbedding(nn.Module):
    """Tokens (batch, time) -> fixed random vectors of length 1 (batch, time, size). No parameters.

    So a large vocabulary adds nothing to what is trained, and the core is as wide as it would be for a small one. An
    embedding tied to the head does not do: the head of a task need not have an output for each symbol (that of
    `long_lag_1997` has two), and the core would have to be as wide as the embedding. The vectors are of length 1, as
    one-hot vectors are. Networks of one seed and vocabulary have the same ones, whatever their core.
    """

    kind = "fixed embedding"

    def __init__(self, tokens: int, seed: int):
        super().__init__()
        self.size = EMBEDDING
        # drawn by numpy, so that the initial weights of the core are those they would be without it
        vectors = np.random.default_rng([seed, tokens]).standard_normal((tokens, EMBEDDING))
        self.register_buffer("vectors", F.normalize(torch.from_numpy(vectors).float()))

    def forward(self, tokens: Tensor) -> Tensor:
        """Look up the vector of each token."""
        return F.embedding(tokens, self.get_buffer("vectors"))


class Features(nn.Identity):
    """Real values (batch, time, features), passed through unchanged."""

    kind = "values"

    def __init__(self, features: int):
        super().__init__()
        self.size = features


def _encoder(task: Task, embedding: str, seed: int) -> OneHot | Embedding | FixedEmbedding | Features:
    if task.tokens is None:
        assert task.features is not None, "a task publishes tokens or features"
        return Features(task.features)
    if task.tokens <= ONE_HOT_UP_TO:
        return OneHot(task.tokens)
    return Embedding(task.tokens) if embedding == LEARNED else FixedEmbedding(task.tokens, seed)
