"""Makes the objects of a run from its configuration: task, network, lag mode, optimiser.

Settings that are impossible raise ValueError here. `instantiate` decides which classes a configuration may name.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from inspect import signature

import torch
from omegaconf import DictConfig
from torch import nn

from longlag import instantiate, memory
from longlag.files import first_line
from longlag.instantiate import TARGET, build
from longlag.lag_modes import LagMode
from longlag.measure.lags import default_lags
from longlag.models.match_parameters import matched
from longlag.models.network import FIXED, LEARNED, Network
from longlag.stream import EVALUATION_BATCH
from longlag.tasks.task import Task


def make_task(cfg: DictConfig) -> Task:
    """The task, at the configured `lag`."""
    task: Task = build(cfg.task, instantiate.TASK)
    return task


def make_network(
    cfg: DictConfig, task: Task, sizes: Mapping[str, int] | None = None, core: Callable[..., nn.Module] | None = None
) -> Network:
    """The network: the core that `model` describes, between the task's encoder and head.

    Args:
        cfg: the settings of the run.
        task: its task.
        sizes: widths that override those of `model`.
        core: a class or function that makes the core; None: `model` names it.
    """
    if core is None:
        return _network(cfg, task, partial(build, cfg.model, instantiate.CORE, **(sizes or {})))
    given = core.keywords if isinstance(core, partial) else {}
    own = {key: value for key, value in cfg.model.items() if key != TARGET and key not in given}
    return _network(cfg, task, partial(core, **(own | dict(sizes or {}))))


def _network(cfg: DictConfig, task: Task, make_core: Callable[..., nn.Module]) -> Network:
    """Around this core. If cores are to be compared, a large vocabulary is read without parameters, unless asked."""
    of_itself = LEARNED if cfg.budget.core_parameters is None else FIXED
    return Network(task, make_core, cfg.embedding or of_itself, cfg.seed)


def sizes_to_match(cfg: DictConfig, task: Task, core: Callable[..., nn.Module] | None = None) -> dict[str, int]:
    """The widths at which the network has `budget.parameters` parameters, or its core `budget.core_parameters`.

    Empty if both are null. Raises ValueError if no width fits.
    """
    of_core = cfg.budget.core_parameters is not None
    name = "core_parameters" if of_core else "parameters"
    wanted = cfg.budget[name]
    if wanted is None:
        return {}

    def make(**sizes: int) -> nn.Module:
        network = make_network(cfg, task, sizes, core)
        return network.core if of_core else network

    knobs = dict(cfg.model) | (dict(signature(core).parameters) if core else {})
    return matched(make, knobs, wanted, f"budget.{name}")


def make_lag_mode(cfg: DictConfig, task: Task) -> LagMode:
    """The lag mode, which chooses the lag of each training batch."""
    lags: LagMode = build(cfg.lag_mode, instantiate.LAG_MODE, task=task)
    return lags


def make_optimizer(cfg: DictConfig) -> Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]:
    """A function that makes the optimiser for given parameters. Raises ValueError if its settings are invalid.

    Where torch has a fused implementation, which is the fastest, it is used unless the settings choose another one.
    """
    make: Callable[..., torch.optim.Optimizer] = build(cfg.optimizer, instantiate.OPTIMIZER)
    chosen = {"fused", "foreach", "capturable", "differentiable"} & set(cfg.optimizer)
    scaled = str(cfg.trainer.get("precision")) in ("16", "16-mixed")  # Lightning cannot clip scaled gradients then
    if "fused" in signature(make).parameters and not chosen and not scaled:
        make = partial(make, fused=True)
    try:
        make([nn.Parameter(torch.zeros(1))])  # a trial with one dummy parameter
    except Exception as error:  # a value of the wrong type may raise anything
        raise ValueError(f"the optimizer does not take these settings: {first_line(error)}") from error
    return make


def lags_to_test(cfg: DictConfig, task: Task, network: Network) -> list[int]:
    """The lags to test at: `eval.lags`, or the default lags of the task.

    Raises ValueError, before the training, if the task cannot be made at one of them, or if a batch of the training or
    of a test does not fit in memory.
    """
    check_memory(network, task, cfg.batch_size, f"a batch of batch_size={cfg.batch_size} at lag={task.lag}")
    lags = list(cfg.eval.lags or default_lags(task))
    for lag in lags:
        at = task.on_curve(lag)
        check_memory(network, at, min(cfg.eval.sequences, EVALUATION_BATCH), f"a test at lag {lag}")
    return lags


def check_memory(network: Network, task: Task, sequences: int, what: str) -> None:
    """Raise ValueError if a batch of `sequences` does not fit in memory; `what` names the batch in the message.

    This is a lower bound: the encoded inputs and the outputs of the core, in float32 (4 bytes per number).
    """
    needed = 4 * sequences * task.length * (network.encoder.size + network.head.in_features)
    if not memory.fits(needed):
        there = memory.in_words()
        raise ValueError(
            f"{what} needs at least {memory.in_words(needed)} of memory; this machine has {there}; "
            "choose a smaller lag or fewer sequences"
        )
