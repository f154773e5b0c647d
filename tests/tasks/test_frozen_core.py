"""What a trained linear head reads from an untrained core: nothing where the lag is long and memory is needed.

Copy's own test has more of it. In sine and text the last inputs, which every state holds, tell much of what is due.
"""

import pytest
import torch
from torch import Tensor, nn

from helpers.command import compose
from longlag.assemble import make_task
from longlag.stream import Seeds, fixed_batches
from longlag.tasks.task import Batch, Task

HIDDEN = 64
HELD_OUT = 1024  # sequences, and as many to fit the head
RIDGE = 1e-6  # for each state

of_memory = pytest.mark.parametrize("name", ["adding", "temporal_order", "long_lag_1997", "text_fact"])


@of_memory
@pytest.mark.parametrize("gain", [1.0, 1.5])
def test_frozen_core_stays_at_chance(name, gain):
    task = make_task(compose(f"task={name}"))
    sigma = (task.chance * (1 - task.chance) / HELD_OUT) ** 0.5
    measured = frozen_core(task, gain)
    assert measured["accuracy"].mean().item() == pytest.approx(task.chance, abs=4 * sigma)
    assert measured["loss"].mean().item() > 0.95 * task.memoryless_loss


@of_memory
def test_frozen_core_recalls_over_the_shortest_lag(name):
    task = make_task(compose(f"task={name}"))
    assert frozen_core(task.at_lag(task.min_lag), gain=1.0)["accuracy"].mean() > task.chance + 0.15


def test_frozen_core_forecasts_a_sine():
    task = make_task(compose("task=sine"))
    measured = frozen_core(task, gain=1.0)  # measured: accuracy .115, chance .064; loss .31 of .54
    assert measured["accuracy"].mean() > 1.5 * task.chance
    assert measured["loss"].mean() < 0.7 * task.memoryless_loss


def test_frozen_core_tells_the_next_character():
    task = make_task(compose("task=text"))  # measured: .346, chance .190
    assert frozen_core(task, gain=0.5, sequences=512)["accuracy"].mean() > task.chance + 0.1


def frozen_core(task: Task, gain: float, sequences: int = HELD_OUT) -> dict[str, Tensor]:
    """How `task` measures, on held-out sequences, a head fitted by ridge regression to the states of a tanh RNN."""
    torch.manual_seed(0)
    core = nn.RNN(task.tokens or task.features, HIDDEN, batch_first=True)
    nn.init.orthogonal_(core.weight_hh_l0, gain)
    shown = list(fixed_batches(task, "train", Seeds(0), sequences))
    states = torch.cat([seen(core, task, batch).flatten(0, 1) for batch in shown])
    due = torch.cat([wanted(task, batch) for batch in shown])
    ridge = RIDGE * len(states) * torch.eye(HIDDEN + 1, dtype=torch.float64)
    head = torch.linalg.solve(states.mT @ states + ridge, states.mT @ due)
    measured = [
        task.measure((seen(core, task, batch) @ head).float(), batch)
        for batch in fixed_batches(task, "test", Seeds(0), sequences)
    ]
    return {name: torch.cat([one[name] for one in measured]) for name in task.measures}


@torch.no_grad()
def seen(core: nn.RNN, task: Task, batch: Batch) -> Tensor:
    """States (batch, scored, HIDDEN + 1) at the scored steps, with a constant."""
    inputs = nn.functional.one_hot(batch.inputs, task.tokens).float() if task.tokens else batch.inputs
    states = core(inputs)[0].gather(1, batch.steps[..., None].expand(-1, -1, HIDDEN))
    return nn.functional.pad(states, (0, 1), value=1.0).double()


def wanted(task: Task, batch: Batch) -> Tensor:
    """(batch * scored, outputs): the class, one-hot, or the value."""
    if task.tokens:
        return nn.functional.one_hot(batch.targets.flatten(), task.outputs).double()
    return batch.targets.reshape(batch.steps.numel(), -1)[:, :1].double()
