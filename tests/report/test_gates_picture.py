"""The picture of the gates."""

from types import SimpleNamespace

import numpy as np

from longlag.report import gates

RECORD = {"model": "lstm", "task": "copy", "lag": 1000, "seed": 0}


def layer(time: int) -> SimpleNamespace:
    rng = np.random.default_rng(0)
    values = {name: rng.random((time, 4)) for name in "ifgoC"}
    landmarks = {0: "a", 1: "b", time - 2: ">", time - 1: "?"}
    return SimpleNamespace(values=values, time_constants=np.array([1.0, 2.0, 4.0, 8.0]), landmarks=landmarks)


def test_a_map_for_each_gate_and_layer():
    figure = gates.gates(RECORD, [layer(100), layer(100)])
    maps = [axes for axes in figure.axes if axes.images]
    assert len(maps) == 10
    assert {axes.get_ylabel() for axes in maps} == {gates.NAMES[name] for name in "ifgoC"}
    assert "copy" in figure.get_suptitle()


def test_darker_is_closer_to_one_and_units_go_upwards():
    (image,) = gates.gates(RECORD, [layer(100)]).axes[0].images
    light, dark = image.cmap(image.norm(0.0))[:3], image.cmap(image.norm(1.0))[:3]
    assert sum(light) == 3
    assert sum(dark) == 0
    np.testing.assert_array_equal(image.get_array(), layer(100).values["i"].T)
    assert image.origin == "lower"


def test_labels_that_would_overlap_are_joined():
    axis = gates.gates(RECORD, [layer(100)]).axes[4]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["ab\n0", ">?\n98"]
    axis = gates.gates(RECORD, [layer(8)]).axes[4]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["a\n0", "b\n1", ">\n6", "?\n7"]
