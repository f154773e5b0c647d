"""The lag curve: which lags, what stands at each, and that measuring changes nothing."""

import pytest
import torch

from longlag.measure.lags import default_lags, over_lags, score
from longlag.models.network import Network
from longlag.models.rnn import RNN
from longlag.stream import Seeds, fixed_batches
from longlag.tasks.copy import Copy

TASK = Copy(lag=10, payload=2)


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return Network(TASK, lambda input_size: RNN(input_size, 8)).eval()


@pytest.mark.parametrize(("lag", "payload"), [(2, 1), (3, 1), (7, 2), (11, 10), (1000, 1), (1010, 10)])
def test_default_lags(lag, payload):
    task = Copy(lag, payload)
    lags = default_lags(task)
    assert lags == sorted(set(lags))
    assert lag in lags
    assert lags[-1] == 2 * lag
    assert task.min_lag <= lags[0] < 2 * task.min_lag


def test_lags_are_sorted_and_unique(network):
    curve = over_lags(network, TASK, [20, 5, 10, 5], Seeds(0), sequences=16)
    assert [point["lag"] for point in curve] == [5, 10, 20]


def test_each_point_is_the_score_there_with_its_chance(network):
    told = []
    curve = over_lags(network, TASK, [5, 20], Seeds(3), sequences=16, tell=told.append)
    for point in curve:
        figures = score(network, TASK.at_lag(point["lag"]), Seeds(3), sequences=16)
        assert point == {"lag": point["lag"], **figures, "chance": 1 / 8, "sequences": 16}
    assert told == curve


def test_same_seed_same_curve(network):
    one, same, other = (over_lags(network, TASK, [5, 20], Seeds(seed), sequences=16) for seed in (0, 0, 1))
    assert one == same
    assert one != other


def test_score_is_the_mean_over_all_test_sequences(network):
    batches = list(fixed_batches(TASK, "test", Seeds(0), 130))
    assert [len(batch.inputs) for batch in batches] == [128, 2]
    with torch.no_grad():
        measured = [TASK.measure(network(batch.inputs, batch.steps), batch) for batch in batches]
    figures = score(network, TASK, Seeds(0), 130)
    assert tuple(figures) == (*TASK.measures, "accuracy_by_position")
    every = {name: torch.cat([values[name] for values in measured]) for name in TASK.measures}
    for name in TASK.measures:
        assert figures[name] == pytest.approx(every[name].mean().item(), rel=1e-5)
    assert figures["accuracy_by_position"] == pytest.approx(every["accuracy"].mean(0).tolist(), rel=1e-5)


def test_network_is_left_as_it_was(network):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    random_state = torch.get_rng_state()
    over_lags(network, TASK, [5, 20], Seeds(0), 16)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())
    assert torch.equal(torch.get_rng_state(), random_state)


def test_lag_that_does_not_exist_is_refused_before_any_is_measured(network):
    told = []
    with pytest.raises(ValueError, match="at least payload"):
        over_lags(network, TASK, [20, 2], Seeds(0), 16, told.append)
    assert not told
