"""Draws heat maps of the gates and the state of a recurrent core over time. Needs no torch."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from longlag.records import Record

PICTURE = "gates.png"
NAMES = {
    "i": "input gate i",
    "f": "forget gate f",
    "g": "candidate g",
    "o": "output gate o",
    "C": "cell state C",
    "r": "reset gate r",
    "z": "update gate z",
    "n": "candidate n",
    "h": "state h",
}
SIGNED = ("g", "n", "C", "h")  # these have both signs; the gates lie between 0 and 1
APART = 0.025  # smallest distance between two labels, as a fraction of the width


class Layer(Protocol):
    """One layer to draw: a `Replay` of `longlag.measure.gates`, which this module does not import: it needs torch."""

    @property
    def values(self) -> Mapping[str, NDArray[Any]]:
        """Each gate and the state by its short name; each array has the shape (time, units)."""

    @property
    def time_constants(self) -> NDArray[Any]:
        """Time constant of each unit in steps, in ascending order; shape (units,)."""

    @property
    def landmarks(self) -> Mapping[int, str]:
        """Labels of the steps to mark on the time axis."""


def gates(record: Record, layers: Sequence[Layer]) -> Figure:
    """Draw a column for each layer, and a row for each gate and for the state. Darker gates are closer to 1."""
    rows = list(layers[0].values)
    figure = Figure(figsize=(8.0 * len(layers), 1.5 * len(rows) + 0.8), layout="constrained")
    grid = figure.subplots(len(rows), len(layers), sharex=True, squeeze=False)
    for column, layer in enumerate(layers):
        for row, name in enumerate(rows):
            axes = grid[row, column]
            image = _heat(axes, name, layer.values[name], layer.time_constants)
            figure.colorbar(image, ax=axes, pad=0.01)
            for step in layer.landmarks:
                axes.axvline(step, color="#0072B2", linewidth=0.5, linestyle=":")
        ticks = _apart(layer.landmarks, len(layer.values[rows[0]]))
        grid[-1, column].set_xticks(list(ticks), [f"{label}\n{step}" for step, label in ticks.items()])
        grid[-1, column].set_xlabel("step: symbol shown, ? where the network is asked")
        if len(layers) > 1:
            grid[0, column].set_title(f"layer {column}", fontsize=9)
    name = f"gates of {record['model']} on {record['task']}, lag {record['lag']}, seed {record['seed']}"
    figure.suptitle(f"{name}\ndarker: closer to 1; units from short to long time constants (steps)", fontsize=10)
    return figure


def _heat(axes: Axes, name: str, values: NDArray[Any], time_constants: NDArray[Any]) -> Any:
    """Draw the heat map of one gate or of the state: time to the right, units upwards."""
    if name in SIGNED:
        # The 90% quantile, not the maximum: one unit whose state drifts far off must not wash out the other units.
        bound = max(1e-9, float(np.quantile(np.abs(values), 0.9)))
        scale: dict[str, Any] = {"cmap": "RdBu_r", "vmin": -bound, "vmax": bound}
    else:
        scale = {"cmap": "Greys", "vmin": 0.0, "vmax": 1.0}
    image = axes.imshow(values.T, aspect="auto", origin="lower", interpolation="nearest", **scale)
    units = sorted({0, len(time_constants) // 2, len(time_constants) - 1})
    axes.set_yticks(units, [f"{time_constants[unit]:,.0f}" for unit in units], fontsize=7)
    axes.set_ylabel(NAMES[name], fontsize=8)
    return image


def _apart(landmarks: Mapping[int, str], time: int) -> dict[int, str]:
    """The labels that fit on the axis without overlap: labels at neighbouring steps are joined."""
    told: dict[int, str] = {}
    last = None
    for step, label in sorted(landmarks.items()):
        if last is not None and step - last < APART * time:
            told[last] += label
        else:
            told[step], last = label, step
    return told
