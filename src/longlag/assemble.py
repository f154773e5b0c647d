"""The objects of a run, made from its configuration: task, network, optimiser; refused here where they cannot be.

What may be made is decided by `instantiate`.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial

import torch
from omegaconf import DictConfig
from torch import nn

from longlag import instantiate, memory
from longlag.files import first_line
from longlag.instantiate import build
from longlag.lag_modes import Fixed
from longlag.measure.lags import default_lags
from longlag.models.match_parameters import matched
from longlag.models.network import Network
from longlag.stream import EVALUATION_BATCH
from longlag.tasks.task import Task


def make_task(cfg: DictConfig) -> Task:
    """The task, at `lag`."""
    task: Task = build(cfg.task, instantiate.TASK)
    return task


def make_network(cfg: DictConfig, task: Task, sizes: Mapping[str, int] | None = None) -> Network:
    """The network: the core that `model` describes, `sizes` apart, between the task's encoder and head."""
    return Network(task, partial(build, cfg.model, instantiate.CORE, **(sizes or {})))


def sizes_to_match(cfg: DictConfig, task: Task) -> dict[str, int]:
    """The widths that make `budget.parameters`; none where it is null. Raises ValueError where there are none."""
    wanted = cfg.budget.parameters
    return {} if wanted is None else matched(lambda **sizes: make_network(cfg, task, sizes), cfg.model, wanted)


def make_lag_mode(cfg: DictConfig, task: Task) -> Fixed:
    """The lags of the training sequences."""
    lags: Fixed = build(cfg.lag_mode, instantiate.LAG_MODE, task=task)
    return lags


def make_optimizer(cfg: DictConfig) -> Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]:
    """What makes the optimiser of given parameters. Raises ValueError where it does not take its settings."""
    make: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer] = build(cfg.optimizer, instantiate.OPTIMIZER)
    try:
        make([nn.Parameter(torch.zeros(1))])
    except Exception as error:  # whatever a value of the wrong kind may lead to
        raise ValueError(f"the optimizer does not take these settings: {first_line(error)}") from error
    return make


def lags_to_test(cfg: DictConfig, task: Task, network: Network) -> list[int]:
    """`eval.lags` or the default ones.

    Raises ValueError where the task has no such lag, or memory cannot hold a batch, of the training or of a test: now,
    not after training.
    """
    check_memory(network, task, cfg.batch_size, f"a batch of batch_size={cfg.batch_size} at lag={task.lag}")
    lags = list(cfg.eval.lags or default_lags(task))
    for lag in lags:
        at = task.on_curve(lag)
        check_memory(network, at, min(cfg.eval.sequences, EVALUATION_BATCH), f"a test at lag {lag}")
    return lags


def check_memory(network: Network, task: Task, sequences: int, what: str) -> None:
    """Raise ValueError where so many sequences cannot fit: their encoded inputs and the core's outputs, in float32."""
    needed = 4 * sequences * task.length * (network.read_in.size + network.read_out.in_features)
    if not memory.fits(needed):
        there = memory.in_words()
        raise ValueError(f"{what} needs at least {memory.in_words(needed)} of memory; this machine has {there}")
