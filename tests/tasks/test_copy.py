"""Copy memory: the layout of its definition, the literature's constants, and that only memory solves it."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from longlag.stream import Seeds, fixed_batches
from longlag.tasks.copy import FILLERS, Copy

CHANCE = 1 / 8
HELD_OUT = 2048  # sequences
SIGMA = (CHANCE * (1 - CHANCE) / HELD_OUT) ** 0.5


@pytest.mark.parametrize("filler", FILLERS)
@pytest.mark.parametrize(("lag", "payload"), [(2, 1), (3, 1), (6, 2), (11, 10), (100, 10)])
def test_layout(lag, payload, filler):
    inputs, targets, steps = Copy(lag, payload, filler).batch(256, np.random.default_rng(0))
    assert inputs.shape == (256, lag + payload)
    assert torch.equal(inputs[:, :payload], targets + 1)
    assert set(targets.unique().tolist()) == set(range(8))
    assert (inputs[:, lag - 1] == 9).all()
    assert (inputs[:, lag:] == 0).all()
    assert steps.tolist() == [[step + lag for step in range(payload)]] * 256
    wait = set(inputs[:, payload : lag - 1].unique().tolist())
    filled_with = {0} if filler == "blank" else set(range(10, 18))
    assert wait == (filled_with if lag > payload + 1 else set())


@pytest.mark.parametrize(("filler", "tokens"), [("random", 18), ("blank", 10)])
def test_vocabulary(filler, tokens):
    assert Copy(5, filler=filler).tokens == tokens


@pytest.mark.parametrize(
    ("literature_t", "loss"), [(100, 0.17329), (200, 0.09452), (500, 0.03999), (1000, 0.02039), (2000, 0.01029)]
)
def test_memoryless_loss_of_the_literature(literature_t, loss):
    task = Copy(literature_t + 10, payload=10)
    batch = task.batch(4, np.random.default_rng(0))
    blind = task.measure(task.blind(batch), batch)["loss_all_steps"].mean().item()
    assert task.baselines["memoryless_loss_all_steps"] == pytest.approx(loss, abs=5e-6)
    assert blind == pytest.approx(loss, abs=5e-6)
    assert task.memoryless_loss == pytest.approx(2.0794, abs=5e-5)


def test_loss_over_all_steps_counts_the_others_as_free():
    task = Copy(20, payload=3)
    batch = task.batch(5, np.random.default_rng(0))
    measured = task.measure(torch.randn(5, 3, 8), batch)
    expected = measured["loss"].sum(1) / (20 + 3)
    torch.testing.assert_close(measured["loss_all_steps"].mean(1), expected)


def test_one_wrong_symbol_is_no_exact_match():
    task = Copy(20, payload=4)
    batch = task.batch(2, np.random.default_rng(0))
    outputs = task.oracle(batch)
    outputs[1, 2] = outputs[1, 2].roll(1)
    measured = task.measure(outputs, batch)
    assert measured["accuracy"].tolist() == [[1, 1, 1, 1], [1, 1, 0, 1]]
    assert measured["exact_match"].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"lag": 5, "payload": 0}, "payload must be at least 1, got 0"),
        ({"lag": 10, "payload": 10}, r"lag must be at least payload \+ 1 = 11, got 10"),
        ({"lag": 5, "filler": "noise"}, "filler must be one of random, blank, got noise"),
    ],
)
def test_refused(knobs, message):
    with pytest.raises(ValueError, match=message):
        Copy(**knobs)


def test_another_lag_keeps_the_knobs():
    task = Copy(20, payload=3, filler="blank", solved_at=0.5).at_lag(40)
    assert (task.lag, task.payload, task.filler, task.solved_at, task.min_lag) == (40, 3, "blank", 0.5, 4)


@pytest.mark.parametrize("gain", [1.0, 1.5, 2.0])
@pytest.mark.parametrize("lag", [300, pytest.param(1000, marks=pytest.mark.slow)])
def test_frozen_core_stays_at_chance(lag, gain):
    assert frozen_core_accuracy(Copy(lag), gain) == pytest.approx(CHANCE, abs=4 * SIGMA)


def test_frozen_core_recalls_over_a_short_lag():
    assert frozen_core_accuracy(Copy(3), gain=1.0) > 0.95


def test_frozen_core_solves_the_blank_filler():
    assert frozen_core_accuracy(Copy(300, filler="blank"), gain=1.5) > 0.99


def frozen_core_accuracy(task: Copy, gain: float) -> float:
    """What a trained linear head reads, on held-out sequences, from the states of an untrained tanh RNN."""
    torch.manual_seed(0)
    core = nn.RNN(task.tokens, 64, batch_first=True)
    nn.init.orthogonal_(core.weight_hh_l0, gain)
    states, symbols = recall(core, task, "train")
    head = torch.linalg.solve(
        states.T @ states + 1e-6 * torch.eye(65, dtype=torch.float64),
        states.T @ nn.functional.one_hot(symbols, 8).double(),
    )
    states, symbols = recall(core, task, "test")
    return ((states @ head).argmax(1) == symbols).double().mean().item()


@torch.no_grad()
def recall(core: nn.RNN, task: Copy, split: str) -> tuple[Tensor, Tensor]:
    """States (sequences, hidden_size + 1) at the recall step, with a constant, and the symbol due there."""
    states, symbols = [], []
    for batch in fixed_batches(task, split, Seeds(0), sequences=HELD_OUT):
        _, last = core(nn.functional.one_hot(batch.inputs, task.tokens).float())
        states.append(nn.functional.pad(last[0], (0, 1), value=1.0).double())
        symbols.append(batch.targets[:, 0])
    return torch.cat(states), torch.cat(symbols)
