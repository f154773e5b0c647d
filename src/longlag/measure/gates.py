"""Gate activity of a trained network: one sequence is run again step by step, and the gates of every step are kept."""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from longlag.models.gru_scratch import GRUScratch
from longlag.models.initialisation import GATES, KEEPING_GATE
from longlag.models.lstm_scratch import LSTMScratch
from longlag.models.network import Network
from longlag.models.scratch import Scratch, unrolled
from longlag.stream import Seeds, fixed_batches
from longlag.tasks.task import Task

FROM_SCRATCH: dict[type[nn.Module], type[Scratch]] = {nn.LSTM: LSTMScratch, nn.GRU: GRUScratch}


class Replay(NamedTuple):
    """The gates and the state of one layer over one sequence.

    Attributes:
        values: each gate and the state (C or h) by name, (time, units) each; units are sorted by time constant.
        time_constants: (units) number of steps over which a unit keeps its state, 1 / (1 - mean of the gate that
            keeps). Without such a gate, 1 / mean of the input gate: the steps in which it admits as much as in one
            step with an open gate.
        landmarks: labels by step: the items shown there, and `?` at the scored steps.
    """

    values: dict[str, NDArray[Any]]
    time_constants: NDArray[Any]
    landmarks: dict[int, str]


@torch.no_grad()
def replay(network: Network, task: Task, seeds: Seeds) -> list[Replay]:
    """Replay each layer on the first validation sequence.

    Raises:
        ValueError: if the core has no gates.
    """
    core = from_scratch(network.core)
    batch = next(fixed_batches(task, "val", seeds, 1))
    landmarks = task.landmarks(batch.inputs[0]) | dict.fromkeys(batch.steps[0].tolist(), "?")
    network.eval()
    x = network.encoder(batch.inputs.to(next(network.parameters()).device))
    layers = []
    for layer in range(core.num_layers):
        zero = x.new_zeros(1, core.hidden_size)  # initial state of a batch of one sequence
        steps = list(unrolled(type(core).step, x, (zero,) * core.parts, core.weights(layer)))
        x = torch.stack([h for (h, *_), _ in steps], dim=1)
        layers.append(_sorted(core, steps, landmarks))
    return layers


def has_gates(core: nn.Module) -> bool:
    """Whether `replay` works for this core."""
    if isinstance(core, Scratch):
        return len(GATES[core.architecture]) > 1
    return isinstance(core, tuple(FROM_SCRATCH))


def from_scratch(core: nn.Module) -> Scratch:
    """Return the core, or a cell from scratch with the weights of torch's LSTM or GRU. ValueError without gates."""
    if not has_gates(core):
        raise ValueError(f"{type(core).__name__} has no gates to show; an LSTM or a GRU has")
    if isinstance(core, Scratch):
        return core
    make = next(ours for theirs, ours in FROM_SCRATCH.items() if isinstance(core, theirs))
    assert isinstance(core, nn.RNNBase)
    ours = make(core.input_size, core.hidden_size, core.num_layers)
    ours.load_state_dict(core.state_dict())
    return ours.to(next(core.parameters()))


def _sorted(core: Scratch, steps: list[Any], landmarks: dict[int, str]) -> Replay:
    names = (*GATES[core.architecture], "C" if core.parts > 1 else "h")
    values = {
        name: torch.stack(list(over_time))[:, 0].double().cpu().numpy()  # (time, units)
        for name, over_time in zip(
            names, zip(*((*gates, state[-1]) for state, gates in steps), strict=True), strict=True
        )
    }
    keep = KEEPING_GATE.get(core.architecture)
    constants = 1 / (1 - values[keep].mean(axis=0)) if keep else 1 / values["i"].mean(axis=0)
    order = np.argsort(constants)
    return Replay({name: value[:, order] for name, value in values.items()}, constants[order], landmarks)
