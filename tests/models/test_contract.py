"""The contract that every model and every task keeps; they are found in conf/, so a new one is tested as it lands."""

import inspect
import math
import time
from functools import cache
from itertools import product

import numpy as np
import pytest
import torch

from helpers.command import MODELS, TASKS, compose
from longlag.assemble import make_network, make_task
from longlag.models.network import Network
from longlag.tasks.task import Batch, Task

HIDDEN = 16
BEYOND_SMALLEST = (0, 9, 200)  # lags above a task's smallest
SEQUENCES = 4096

every_model = pytest.mark.parametrize("model", MODELS)
every_task = pytest.mark.parametrize("task_name", TASKS)
every_pair = pytest.mark.parametrize(("model", "task_name"), list(product(MODELS, TASKS)))
at_three_lags = pytest.mark.parametrize("beyond", BEYOND_SMALLEST)


composed = cache(compose)


def make(task_name: str, beyond: int = 9, *overrides: str) -> Task:
    task = make_task(composed(f"task={task_name}", *overrides))
    return task.at_lag(task.min_lag + beyond)


def connect(model: str, task: Task, seed: int = 0) -> Network:
    torch.manual_seed(seed)
    return make_network(composed(f"model={model}", f"model.hidden_size={HIDDEN}"), task).eval()


def draw(task: Task, sequences: int = 4) -> Batch:
    return task.batch(sequences, np.random.default_rng(0))


def embedded(network: Network, time: int, sequences: int = 2) -> torch.Tensor:
    return torch.randn(sequences, time, network.encoder.size, generator=torch.Generator().manual_seed(1))


@every_pair
def test_one_output_for_each_scored_step(model, task_name):
    task = make(task_name)
    inputs, _, steps = draw(task)
    assert connect(model, task)(inputs, steps).shape == (*steps.shape, task.outputs)


@every_pair
@pytest.mark.parametrize("time", [1, 2, 33])
def test_core_takes_any_length(model, task_name, time):
    network = connect(model, make(task_name))
    hidden = network.core(embedded(network, time))
    assert network.core.hidden_size == HIDDEN
    assert hidden.shape == (2, time, HIDDEN)
    assert hidden.isfinite().all()


@every_pair
def test_a_recurrent_core_goes_on_from_its_state(model, task_name):
    network = connect(model, make(task_name))
    if not hasattr(network.core, "unroll"):
        return  # not recurrent
    x = embedded(network, 12)
    first, state = network.core.unroll(x[:, :5])
    second, _ = network.core.unroll(x[:, 5:], state)
    torch.testing.assert_close(torch.cat([first, second], dim=1), network.core(x))
    assert all(part.shape[1:] == (2, HIDDEN) for part in ([state] if isinstance(state, torch.Tensor) else state))


@every_pair
@pytest.mark.parametrize("now", [0, 5])
def test_core_does_not_see_the_future(model, task_name, now):
    network = connect(model, make(task_name))
    x = embedded(network, 12)
    other = x.clone()
    other[:, now + 1 :] += 1.0
    hidden, changed = network.core(x), network.core(other)
    torch.testing.assert_close(changed[:, : now + 1], hidden[:, : now + 1])
    torch.testing.assert_close(network.core(x[:, : now + 1]), hidden[:, : now + 1])
    assert not torch.allclose(changed[:, now + 1 :], hidden[:, now + 1 :])


@every_pair
def test_core_passes_the_check_before_training(model, task_name):
    task = make(task_name)
    assert connect(model, task).check(task, [task.lag + 3], torch.device("cpu")).exact


@every_model
def test_core_with_layers_and_dropout_passes_the_check_and_draws_no_random_number(model):
    task = make("copy", 200)
    torch.manual_seed(0)
    network = make_network(composed(f"model={model}", "model.num_layers=2", "model.dropout=0.5"), task)
    before = torch.get_rng_state()
    assert network.check(task, [task.lag, 2 * task.lag], torch.device("cpu")).exact
    assert torch.equal(torch.get_rng_state(), before)


@every_model
def test_the_check_takes_less_than_half_a_second(model):
    cfg = composed(f"model={model}", "task=copy", "lag=300")
    task = make_task(cfg)
    network, seconds = make_network(cfg, task), []
    for _ in range(3):
        started = time.thread_time()  # not of the clock: the machine may do other work
        network.check(task, [600], torch.device("cpu"))
        seconds.append(time.thread_time() - started)
    assert min(seconds) < 0.5


@every_pair
def test_every_parameter_gets_a_finite_gradient(model, task_name):
    task = make(task_name)
    network, batch = connect(model, task).train(), draw(task)
    task.measure(network(batch.inputs, batch.steps), batch)["loss"].mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@every_pair
def test_seed_decides_weights_and_outputs(model, task_name):
    task = make(task_name)
    inputs, _, steps = draw(task)
    one, same, other = (connect(model, task, seed) for seed in (0, 0, 1))
    for name, value in one.state_dict().items():
        assert torch.equal(value, same.state_dict()[name]), name
    assert torch.equal(one(inputs, steps), same(inputs, steps))
    assert not torch.equal(one(inputs, steps), other(inputs, steps))


@every_task
@at_three_lags
def test_batch_has_the_published_sizes(task_name, beyond):
    task = make(task_name, beyond)
    inputs, targets, steps = draw(task)
    assert (task.tokens is None) != (task.features is None)
    assert len(inputs) == 4
    assert inputs.shape[2:] == (() if task.tokens else (task.features,))
    if task.tokens:
        assert 0 <= inputs.min() <= inputs.max() < task.tokens
    assert inputs.isfinite().all()
    assert targets.shape[:2] == steps.shape
    assert 0 <= steps.min() <= steps.max() < inputs.shape[1] <= task.length


@every_task
@at_three_lags
def test_oracle_is_always_right(task_name, beyond):
    task = make(task_name, beyond)
    batch = draw(task, 256)
    assert task.measure(task.oracle(batch), batch)["accuracy"].mean().item() == 1.0


@every_task
@at_three_lags
def test_blind_player_scores_chance(task_name, beyond):
    task = make(task_name, beyond)
    batch = draw(task, SEQUENCES)
    measured = task.measure(task.blind(batch), batch)
    sigma = math.sqrt(task.chance * (1 - task.chance) / SEQUENCES)
    assert measured["accuracy"].mean().item() == pytest.approx(task.chance, abs=4 * sigma)
    loss = measured["loss"].flatten(1).mean(1).double()
    assert loss.mean().item() == pytest.approx(task.memoryless_loss, abs=4 * loss.std().item() / 64 + 1e-6)


@every_task
def test_measures_have_the_published_names(task_name):
    task = make(task_name)
    batch = draw(task)
    outputs = torch.randn(*batch.steps.shape, task.outputs)
    measured = task.measure(outputs, batch)
    assert tuple(measured) == task.measures
    assert {"loss", "accuracy"} <= set(task.measures)
    for values in measured.values():
        assert len(values) == len(batch.inputs)
        assert values.isfinite().all()
    assert 0 <= measured["accuracy"].min() <= measured["accuracy"].max() <= 1


@every_task
def test_baselines_are_numbers(task_name):
    task = make(task_name)
    assert task.baselines["chance"] == task.chance
    assert task.baselines["memoryless_loss"] == task.memoryless_loss
    assert all(math.isfinite(value) for value in task.baselines.values())


@every_task
def test_another_lag_is_the_same_task_otherwise(task_name):
    cfg = composed(f"task={task_name}", "task.solved_at=0.5")
    task = make_task(cfg)
    moved = task.at_lag(task.lag + 20)
    assert type(moved) is type(task)
    assert moved.lag == task.lag + 20
    for kept in {"tokens", "features", "outputs", "min_lag", *cfg.task} - {"_target_", "lag"}:
        assert getattr(moved, kept) == getattr(task, kept), kept
    assert all(map(torch.equal, draw(moved.at_lag(task.lag)), draw(task)))


@every_task
def test_lag_below_the_smallest_is_refused(task_name):
    task = make(task_name, 0)
    assert task.lag == task.min_lag
    with pytest.raises(ValueError, match="lag"):
        task.at_lag(task.min_lag - 1)


@every_task
def test_an_example_is_drawn(task_name):
    task = type(make(task_name))
    _, drawing = f"{inspect.getmodule(task).__doc__}\n{inspect.getdoc(task)}".split("::", 1)
    labels = [line.split()[0] for line in drawing.splitlines() if line.strip()]
    assert labels[0] == "step"
    assert "target" in labels
