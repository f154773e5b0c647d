"""Matched sizes: every core comes within 2% of the parameters asked for, heads respected."""

import pytest
import torch
from torch import nn

import longlag
from helpers.command import MODELS, compose
from longlag import settings
from longlag.assemble import make_network, make_task, sizes_to_match
from longlag.models.match_parameters import count, matched


@pytest.mark.parametrize("parameters", [5_000, 50_000, 200_000])
@pytest.mark.parametrize("model", MODELS)
def test_every_model(model: str, parameters: int):
    cfg = compose(f"model={model}", "lag=30", f"budget.parameters={parameters}")
    task = make_task(cfg)
    sizes = sizes_to_match(cfg, task)
    network = make_network(cfg, task, sizes)
    assert count(network) == pytest.approx(parameters, rel=0.02)
    assert network.core.hidden_size == sizes["hidden_size"]
    if "num_heads" in cfg.model:
        assert sizes["hidden_size"] % cfg.model.num_heads == 0


@pytest.mark.parametrize("parameters", [16_000, 60_000])
@pytest.mark.parametrize("model", MODELS)
def test_the_core_alone(model: str, parameters: int):
    cfg = compose(f"model={model}", "lag=30", f"budget.core_parameters={parameters}")
    task = make_task(cfg)
    sizes = sizes_to_match(cfg, task)
    assert count(make_network(cfg, task, sizes).core) == pytest.approx(parameters, rel=0.02)


def test_the_vocabulary_does_not_change_the_width():
    """Above 128 symbols the core reads vectors of one width, and they are not parameters of it."""
    widths = set()
    for lag in (200, 2000):  # as many symbols as steps
        cfg = compose("model=lstm", "task=long_lag_1997", f"lag={lag}", "budget.core_parameters=16000")
        task = make_task(cfg)
        network = make_network(cfg, task, sizes_to_match(cfg, task))
        assert count(network) == count(network.core) + count(network.head)
        widths.add(network.core.hidden_size)
    assert len(widths) == 1


def test_whole_network_or_core_but_not_both():
    cfg = compose("lag=30", "budget.parameters=9000", "budget.core_parameters=8000")
    with pytest.raises(
        ValueError, match=r"^budget\.parameters and budget\.core_parameters exclude each other: set one"
    ):
        settings.check(cfg)


def test_no_core_is_so_small():
    cfg = compose("lag=30", "budget.core_parameters=1")
    with pytest.raises(ValueError, match=r"^budget\.core_parameters=1: no width of this model comes within 2%"):
        sizes_to_match(cfg, make_task(cfg))


@pytest.mark.parametrize("task", ["adding", "text"])
def test_other_read_ins_and_heads(task: str):
    cfg = compose("model=gru", f"task={task}", "budget.parameters=40000")
    the_task = make_task(cfg)
    assert count(make_network(cfg, the_task, sizes_to_match(cfg, the_task))) == pytest.approx(40_000, rel=0.02)


class Heads(nn.Module):
    """Takes multiples of 4 alone."""

    def __init__(self, hidden_size: int, feed_forward_size: int | None = None):
        super().__init__()
        if hidden_size % 4:
            raise ValueError("heads")
        self.weight = nn.Parameter(torch.empty(hidden_size, hidden_size + (feed_forward_size or 4 * hidden_size)))


def test_the_closest_of_the_widths_that_are_taken():
    sizes = {width: 5 * width**2 for width in range(4, 400, 4)}
    for parameters in (80, 1000, 33_000, 250_000):
        (best,) = {width for width in sizes if abs(sizes[width] - parameters) <= 0.02 * parameters} or {None}
        if best is None:
            with pytest.raises(ValueError, match=rf"^budget\.parameters={parameters}: no width of this model"):
                matched(Heads, {"hidden_size": 64}, parameters)
        else:
            assert matched(Heads, {"hidden_size": 64}, parameters) == {"hidden_size": best}


def test_a_finer_knob_makes_up_the_difference():
    knobs = {"hidden_size": 64, "feed_forward_size": None}
    for parameters in (1000, 1234, 33_000, 250_000):
        assert count(Heads(**matched(Heads, knobs, parameters))) == pytest.approx(parameters, rel=0.02)


def test_random_numbers_are_left_alone():
    before = torch.get_rng_state()
    matched(lambda hidden_size: nn.Linear(hidden_size, hidden_size), {"hidden_size": 1}, 1000)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_model_without_a_width():
    with pytest.raises(ValueError, match=r"^budget\.parameters needs a model with a hidden_size$"):
        matched(nn.Identity, {}, 100)


def test_a_model_that_cannot_be_made():
    """Why, and not how many widths were tried."""
    cfg = compose("model=lstm", "model.init=identity", "budget.parameters=100000")
    with pytest.raises(ValueError, match=r"^model\.init=identity does not fit the lstm"):
        sizes_to_match(cfg, make_task(cfg))


def test_the_record_says_that_the_core_was_matched(run_small):
    folder, record = run_small("model=lstm", "task=long_lag_1997", "lag=200", "budget.core_parameters=16000")
    cost = record["cost"]
    assert cost["core_parameters"] == pytest.approx(16_000, rel=0.02)
    assert (cost["encoder"], cost["parameters"]) == (
        "fixed embedding",
        cost["core_parameters"] + cost["head_parameters"],
    )
    network, _, _ = longlag.load(folder)
    assert network.core.hidden_size == cost["hidden_size"]


def test_the_record_shows_core_and_head_apart(run_small):
    folder, record = run_small("model=transformer", "budget.parameters=20000")
    cost = record["cost"]
    assert cost["core_parameters"] + cost["head_parameters"] == cost["parameters"]  # copy is read in without any
    assert cost["parameters"] == pytest.approx(20_000, rel=0.02)
    network, _, _ = longlag.load(folder)
    assert count(network) == cost["parameters"]
