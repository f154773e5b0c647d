"""The replay: what it writes down is what the network computes, of torch's layers as of our own."""

import numpy as np
import pytest
import torch

from helpers.command import compose
from longlag.assemble import make_network, make_task
from longlag.measure.gates import has_gates, replay
from longlag.stream import Seeds, fixed_batches

GATED = ("lstm", "gru", "lstm_scratch", "lstm_1997", "lstm_peephole", "gru_scratch")


def made(model: str, *overrides: str):
    cfg = compose(f"model={model}", "lag=12", "model.hidden_size=8", "model.num_layers=2", *overrides)
    torch.manual_seed(0)
    task = make_task(cfg)
    return make_network(cfg, task), task


@pytest.mark.parametrize("model", GATED)
def test_every_layer_and_every_gate_is_there(model):
    network, task = made(model)
    layers = replay(network, task, Seeds(0))
    assert len(layers) == 2
    top = layers[-1].values
    gates = [value for name, value in top.items() if name in "ifozr"]
    assert all(((value > 0) & (value < 1)).all() for value in gates)
    assert all(value.shape == (task.length, 8) for value in top.values())


def test_values_are_those_of_the_cell():
    """h_t = o_t tanh(C_t) for every unit, whatever their order."""
    network, task = made("lstm")
    layer = replay(network, task, Seeds(0))[-1]
    batch = next(fixed_batches(task, "val", Seeds(0), sequences=1))
    with torch.no_grad():
        hidden = network.core(network.encoder(batch.inputs))[0]
    h = layer.values["o"] * np.tanh(layer.values["C"])
    np.testing.assert_allclose(np.sort(h, axis=1), np.sort(hidden.numpy(), axis=1), atol=1e-6)


def test_units_stand_from_short_to_long_time_constants():
    network, task = made("lstm")
    for layer in replay(network, task, Seeds(0)):
        assert (np.diff(layer.time_constants) >= 0).all()
        np.testing.assert_allclose(layer.time_constants, 1 / (1 - layer.values["f"].mean(axis=0)))


def test_symbols_marker_and_question_are_named():
    network, task = made("gru", "task.payload=3")
    landmarks = replay(network, task, Seeds(0))[0].landmarks
    assert [landmarks[step] in "abcdefgh" for step in range(3)] == [True] * 3
    assert landmarks[11] == ">"
    assert [landmarks[step] for step in (12, 13, 14)] == ["?"] * 3
    assert len(landmarks) == 7


@pytest.mark.parametrize("model", ["rnn", "rnn_scratch", "transformer"])
def test_without_gates(model):
    network, task = made(model)
    assert not has_gates(network.core)
    with pytest.raises(ValueError, match="has no gates to show"):
        replay(network, task, Seeds(0))


@pytest.mark.parametrize(
    ("task", "labels"),
    [("copy", 2), ("long_lag_1997", 1), ("temporal_order", 2), ("adding", 2), ("sine", 0), ("text", 0)],
)
def test_landmarks(task, labels):
    the_task = make_task(compose(f"task={task}", "lag=20"))
    batch = the_task.part("val").batch(1, np.random.default_rng(0))
    assert len(the_task.landmarks(batch.inputs[0])) == labels
