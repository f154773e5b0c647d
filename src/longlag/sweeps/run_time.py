"""Predicts the computing seconds of a run from the measured time of its training step. Importing it needs no torch."""

import json
import statistics
import time

from omegaconf import DictConfig, OmegaConf

from longlag.settings import plain

WORTHWHILE = 100  # steps of a run from which its step is measured: that takes three steps
LONG = 5.0  # seconds of a first step that is not repeated
FORWARD = 1 / 3  # time of a forward pass over a training step
NO_MATTER = (
    "seed",
    "lr",
    "lr_schedule",
    "warmup_steps",
    "logger",
    "optimizer",
    "resume",
    "published",
    "tune",
    "tuned",
    "tuning",
    "stream",
)


def key(settings: DictConfig) -> str:
    """Runs with equal keys take equally long, as far as `predicted` can tell."""
    return json.dumps({name: value for name, value in plain(settings).items() if name not in NO_MATTER}, default=str)


def worthwhile(settings: DictConfig) -> bool:
    """Whether the run has so many steps that measuring one of them costs little."""
    from longlag.training import budget

    return budget.steps(settings) >= WORTHWHILE


def predicted(settings: DictConfig) -> float:
    """The most seconds that a run can take: all its training steps, its validations and its test.

    A run that solves its task ends sooner.

    Args:
        settings: of the run, checked by `settings.check`.
    """
    import torch

    from longlag.assemble import lags_to_test, make_network, make_optimizer, make_task, sizes_to_match
    from longlag.stream import Seeds
    from longlag.training import budget, malloc
    from longlag.training.kernels import Kernels
    from longlag.training.trainer import accelerator

    cfg = OmegaConf.create(plain(settings))
    torch.set_num_threads(cfg.runtime.threads or 1)
    malloc.use(cfg.runtime.malloc)
    task = make_task(cfg)
    device = {"cpu": "cpu", "mps": "mps"}.get(accelerator(cfg.trainer.accelerator), "cuda")
    network = make_network(cfg, task, sizes_to_match(cfg, task)).to(device).train()
    Kernels(network.core, cfg.runtime.kernels)
    optimizer = make_optimizer(cfg)(network.parameters())
    seconds: list[float] = []
    while len(seconds) < 3 and sum(seconds) < LONG:
        started = time.perf_counter()
        batch = task.batch(cfg.batch_size, Seeds(cfg.seed).generator("train", cfg.lag, len(seconds))).to(device)
        loss = task.measure(network(batch.inputs, batch.steps), batch)["loss"].mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        loss.item()  # waits for a GPU
        seconds.append(time.perf_counter() - started)
    steps, step = budget.steps(cfg), statistics.median(seconds[-2:])  # the first one allocates its memory
    a_sequence = FORWARD * step / cfg.batch_size
    validations = steps / cfg.validation.every * cfg.validation.sequences * a_sequence
    tested = sum(task.on_curve(lag).length / task.length for lag in lags_to_test(cfg, task, network))
    most = steps * step + validations
    return min(most, cfg.budget.seconds or most) + tested * cfg.eval.sequences * a_sequence
