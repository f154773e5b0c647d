"""Accuracy over lags: one trained network is tested at its training lag and at others."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torchmetrics import MeanMetric

from longlag.models.network import Network
from longlag.records.schema import LagPoint
from longlag.stream import Seeds, fixed_batches
from longlag.tasks.task import Task


def default_lags(task: Task) -> list[int]:
    """Twice the trained lag, if the task allows it, then repeated halves of that down to the task's smallest lag.

    Their sum is about four times the trained lag. Testing therefore costs a recurrent model about as much as ten
    training steps with 32 sequences, a Transformer about fifteen: less than a fifth of any run of 75 steps or more.
    """
    lags = [2 * task.lag if task.max_lag is None or 2 * task.lag <= task.max_lag else task.lag]
    while lags[-1] // 2 >= task.min_lag:
        lags.append(lags[-1] // 2)
    return sorted(lags)


@torch.no_grad()
def score(network: Network, task: Task, seeds: Seeds, sequences: int) -> dict[str, Any]:
    """Means of the task's measures over its first `sequences` test sequences; leaves the network in evaluation mode.

    The result also has the values that the task derives from the means and, as `NAME_by_position`, the list of means
    at each scored step.
    """
    device = next(network.parameters()).device
    means = {name: MeanMetric(nan_strategy="disable", sync_on_compute=False).to(device) for name in task.measures}
    positions: dict[str, list[Tensor]] = {name: [] for name in task.by_position}
    network.eval()
    for batch in fixed_batches(task, "test", seeds, sequences):
        batch = batch.to(device)  # noqa: PLW2901
        measured = task.measure(network(batch.inputs, batch.steps), batch)
        for name, values in measured.items():
            means[name].update(values)
        for name, rows in positions.items():
            rows.append(measured[name])
    figures = {name: mean.compute().item() for name, mean in means.items()}
    by_position = {f"{name}_by_position": torch.cat(rows).mean(0).tolist() for name, rows in positions.items()}
    return {**figures, **task.derived(figures), **by_position}


def over_lags(
    network: Network,
    task: Task,
    lags: Iterable[int],
    seeds: Seeds,
    sequences: int,
    tell: Callable[[LagPoint], None] = lambda _: None,
    trained: dict[str, Any] | None = None,
) -> list[LagPoint]:
    """The lag curve: at each lag the test results, chance for comparison, and the number of test sequences.

    Args:
        network: the trained network.
        task: the task that it was trained on.
        lags: the lags to test at. Raises ValueError if the task does not allow one of them.
        seeds: seeds of the run.
        sequences: number of test sequences at each lag.
        tell: called with each point as soon as it is measured.
        trained: test results for `task` itself, if they are already known.
    """
    curve: list[LagPoint] = []
    for at in [task.on_curve(lag) for lag in sorted(set(lags))]:
        figures = trained if trained and at is task else score(network, at, seeds, sequences)
        point: Any = {"lag": at.lag, **figures, "chance": at.chance, "sequences": sequences}
        curve.append(point)
        tell(point)
    return curve
