"""Sine forecasting: observe a noisy wave, then predict how it continues without further input."""

import math
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from longlag.records.schema import Artefact, Curve, Curves
from longlag.tasks.task import Batch, Predict, Task

AMPLITUDE = (0.5, 1.5)
PERIOD = (10.0, 50.0)  # steps
TOLERANCE = 0.1  # largest error, relative to the amplitude, of a forecast that counts as right
POWER = (AMPLITUDE[1] ** 3 - AMPLITUDE[0] ** 3) / (3 * (AMPLITUDE[1] - AMPLITUDE[0])) / 2  # E[A^2] / 2
SHOWN = 3  # number of forecasts in the artefact
MANY = 4096  # number of sequences on which the persistence baseline is measured


class Sine(Task):
    """Forecast a sine of unknown amplitude, frequency and phase, `lag` steps beyond the last sample seen.

    With window=5, lag=3 (values are rounded; `.` is 0)::

        step      0    1    2    3    4    5    6    7
        value    .31  .92 1.22 1.01  .43   .    .    .      window noisy samples, then lag blank steps
        flag      1    1    1    1    1    0    0    0      1 where a sample is shown
        target                           -.27 -.86 -1.2     the wave without noise, at every blank step
        scored                             ^    ^    ^      accuracy is that of the last one, step window+lag-1

    The loss is the squared error averaged over all blank steps. A forecast is right if its error is below a tenth of
    the amplitude. `accuracy` and `r2` are those of the last step, `lag` steps after the last sample; lag=1 is the usual
    one-step forecast.

    The amplitude is U[.5, 1.5], the period U[10, 50] steps, the phase uniform; the noise has a standard deviation of
    `noise` times the amplitude. The best forecast without memory is 0: its squared error is E[A^2]/2 = 13/24, its R2 is
    0, and it is right in (2/pi) asin .1 = .0638 of cases, the probability that |sin| of a uniform phase is below .1.
    That is `chance`. (A forecast of always .9 A would be right in .205 of cases, but it requires knowing A.) At lag 1
    the baseline to beat is `persistence_accuracy`, the accuracy of repeating the last sample. A trained head on a
    frozen random core reaches .12: its states contain the last samples, which predict the next ones in part.

    Args:
        lag: number of blank steps, at least 1.
        window: number of samples shown, at least 2.
        noise: standard deviation of the noise on the samples, relative to the amplitude, at least 0.
        solved_at: validation accuracy from which the task counts as solved, or None.

    Raises:
        ValueError: if an argument is out of its range.
    """

    measures: ClassVar[tuple[str, ...]] = ("loss", "accuracy", "r2")
    features = 2
    outputs = 1
    min_lag = 1
    probed = -1
    chance = 2 / math.pi * math.asin(TOLERANCE)
    memoryless_loss = POWER

    def __init__(self, lag: int, window: int = 64, noise: float = 0.05, solved_at: float | None = 0.9):
        if lag < 1:
            raise ValueError(f"task sine: lag must be at least 1, got {lag}")
        if window < 2:
            raise ValueError(f"task.window must be at least 2, got {window}")
        if noise < 0:
            raise ValueError(f"task.noise must be at least 0, got {noise}")
        self.lag, self.window, self.noise, self.solved_at = lag, window, noise, solved_at
        self.length = window + lag

    @property
    def baselines(self) -> dict[str, float]:
        """The baselines, with the accuracy of repeating the last sample, measured on many sequences of a fixed seed."""
        batch = self.batch(MANY, np.random.default_rng(0))
        accuracy = self.measure(self.persistence(batch), batch)["accuracy"].mean().item()
        return super().baselines | {"persistence_accuracy": accuracy}

    def at_lag(self, lag: int) -> Self:
        """The same task at another lag."""
        return type(self)(lag, self.window, self.noise, self.solved_at)

    def batch(self, sequences: int, rng: np.random.Generator) -> Batch:
        """Draw `sequences` new waves; the targets (sequences, lag, 2) are the wave and its amplitude."""
        amplitude = rng.uniform(*AMPLITUDE, (sequences, 1))
        turns = np.arange(self.length) / rng.uniform(*PERIOD, (sequences, 1)) + rng.uniform(0, 1, (sequences, 1))
        wave = amplitude * np.sin(2 * math.pi * turns)
        seen = (np.arange(self.length) < self.window).astype(float)
        samples = seen * (wave + self.noise * amplitude * rng.standard_normal(wave.shape))
        inputs = np.stack(np.broadcast_arrays(samples, seen), axis=-1)
        due = wave[:, self.window :]
        targets = np.stack(np.broadcast_arrays(due, amplitude), axis=-1)
        steps = torch.arange(self.window, self.length).expand(sequences, -1)
        return Batch(torch.from_numpy(inputs).float(), torch.from_numpy(targets).float(), steps)

    def measure(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Squared error at every blank step; accuracy and R2 = 1 - squared error / (E[A^2]/2) at the last one."""
        wave, amplitude = batch.targets.unbind(-1)
        error = outputs[..., 0] - wave
        last, within = error[:, -1:], TOLERANCE * amplitude[:, -1:]
        return {"loss": error.square(), "accuracy": (last.abs() < within).float(), "r2": 1 - last.square() / POWER}

    @torch.no_grad()
    def example(self, predict: Predict, rng: np.random.Generator) -> dict[str, Artefact]:
        """A few forecasts, with the wave that the network saw and how it went on."""
        batch = self.batch(SHOWN, rng)
        forecast = predict(batch.inputs, batch.steps)

        def panel(i: int) -> list[Curve]:
            observed, truth = batch.inputs[i, : self.window, 0].tolist(), batch.targets[i, :, 0].tolist()
            return [
                Curve(name="observed", role="input", start=0, values=observed),
                Curve(name="truth", role="target", start=self.window, values=truth),
                Curve(name="forecast", role="output", start=self.window, values=forecast[i, :, 0].tolist()),
            ]

        return {"forecasts": Curves(kind="curves", title="Forecast", y="value", panels=list(map(panel, range(SHOWN))))}

    def oracle(self, batch: Batch) -> Tensor:
        """Knows the wave: outputs the targets."""
        return batch.targets[..., :1]

    def blind(self, batch: Batch) -> Tensor:
        """Predicts 0, the mean of all waves."""
        return torch.zeros(*batch.steps.shape, 1)

    def persistence(self, batch: Batch) -> Tensor:
        """Repeats the last sample seen."""
        return batch.inputs[:, self.window - 1, 0, None, None].expand(-1, batch.steps.shape[1], -1)
