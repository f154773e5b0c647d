"""Accuracy over lags: one trained network, tested at lags it was and was not trained at."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torchmetrics import MeanMetric

from longlag.network import Network
from longlag.stream import fixed_batches
from longlag.tasks.task import Task


def default_lags(task: Task) -> list[int]:
    """Twice the trained lag and its halves, down to the task's smallest; the trained lag is among them.

    Their lengths add up to about four times the trained one, so that testing costs a recurrent model about as much as
    ten training steps of 32 sequences, a Transformer about fifteen: less than a fifth of any run of 75 steps.
    """
    lags = [2 * task.lag]
    while lags[-1] // 2 >= task.min_lag:
        lags.append(lags[-1] // 2)
    return sorted(lags)


@torch.no_grad()
def score(network: Network, task: Task, seed: int, sequences: int) -> dict[str, float]:
    """Means of the task's measures over its first `sequences` test sequences; the network is left in eval mode."""
    device = next(network.parameters()).device
    means = {name: MeanMetric(nan_strategy="disable", sync_on_compute=False).to(device) for name in task.measures}
    network.eval()
    for batch in fixed_batches(task, "test", seed, sequences):
        batch = batch.to(device)  # noqa: PLW2901
        for name, values in task.measure(network(batch.inputs, batch.steps), batch).items():
            means[name].update(values)
    return {name: mean.compute().item() for name, mean in means.items()}


def over_lags(
    network: Network,
    task: Task,
    lags: Iterable[int],
    seed: int,
    sequences: int,
    tell: Callable[[dict[str, Any]], None] = lambda _: None,
) -> list[dict[str, Any]]:
    """The lag curve: at each lag the score, the chance beside it and the number of sequences behind it.

    Args:
        network: trained.
        task: what it was trained on.
        lags: where to test. Raises ValueError where the task cannot be made at one of them.
        seed: of the run; the test stream's.
        sequences: at each lag.
        tell: called with each point as it is measured.
    """
    curve = []
    for at in [task.at_lag(lag) for lag in sorted(set(lags))]:
        figures = score(network, at, seed, sequences)
        curve.append({"lag": at.lag, **figures, "chance": at.chance, "sequences": sequences})
        tell(curve[-1])
    return curve
