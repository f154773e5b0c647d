"""The overhead of our training over a plain loop: python benchmarks/training_step.py [--save FILE.json] [KEY=VALUE …].

Both train the same network on the same task with the same optimiser and gradient clipping, and both make their batches
during the training. Ours uses Lightning with logging and the progress callback; the plain loop is written out below.
They alternate in one process. The result is the median of the time ratios, because the times themselves drift with the
load of the machine. KEY=VALUE are settings as in train.py, such as model=gru or runtime.threads=2.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import hydra
import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from longlag import instantiate
from longlag.assemble import make_network, make_optimizer, make_task
from longlag.commands.errors import errors_in_one_line
from longlag.files import write_text
from longlag.instantiate import build
from longlag.measure.cost import environment
from longlag.settings import CONF, check
from longlag.stream import Seeds, Streams
from longlag.training import malloc
from longlag.training.callbacks import ShowProgress
from longlag.training.learner import Learner
from longlag.training.trainer import make_trainer, quietly

STEPS = {10: 600, 100: 120, 1000: 20}  # lag: optimiser steps of one measurement, which then takes about two seconds
UNCOUNTED = 5  # warm-up steps at the start of each measurement
REPETITIONS = 7  # measurements of each kind


class Clock(pl.Callback):
    """Measures the wall seconds per step of a fit, without its warm-up steps."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, *_: Any) -> None:
        """Note the time at the end of each step."""
        self.ends.append(time.perf_counter())

    @property
    def seconds_per_step(self) -> float:
        """Mean over the counted steps."""
        counted = self.ends[UNCOUNTED - 1 :]
        return (counted[-1] - counted[0]) / (len(counted) - 1)


def our_step(cfg: DictConfig, folder: Path) -> float:
    """Wall seconds per step of our training."""
    task = make_task(cfg)
    learner = Learner(make_network(cfg, task), task, make_optimizer(cfg))
    clock = Clock()
    trainer = make_trainer(cfg, folder, [ShowProgress("benchmark"), clock])
    trainer.loggers = [build(cfg.logger.csv, instantiate.LOGGER, save_dir=str(folder))]
    with quietly():
        trainer.fit(learner, Streams(task, learner.lags, Seeds(cfg.seed), cfg.batch_size, 1))
    return clock.seconds_per_step


def plain_step(cfg: DictConfig) -> float:
    """Wall seconds per step of a plain training loop in PyTorch."""
    task = make_task(cfg)
    network = make_network(cfg, task).train()
    optimizer = make_optimizer(cfg)(network.parameters())
    started = 0.0
    for step in range(cfg.max_steps):
        if step == UNCOUNTED:
            started = time.perf_counter()
        batch = task.batch(cfg.batch_size, Seeds(cfg.seed).generator("train", cfg.lag, step))
        loss = task.measure(network(batch.inputs, batch.steps), batch)["loss"].mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), cfg.trainer.gradient_clip_val)
        optimizer.step()
    return (time.perf_counter() - started) / (cfg.max_steps - UNCOUNTED)


def batch_making(cfg: DictConfig) -> float:
    """Wall seconds to make one batch."""
    task = make_task(cfg)
    started = time.perf_counter()
    for step in range(cfg.max_steps):
        task.batch(cfg.batch_size, Seeds(cfg.seed).generator("train", cfg.lag, step))
    return (time.perf_counter() - started) / cfg.max_steps


def compare(lag: int, overrides: list[str]) -> dict[str, Any]:
    """The time of our step relative to the plain step, at one lag."""
    cfg = composed([*overrides, f"lag={lag}", f"max_steps={STEPS[lag]}", "trainer=cpu", "logger=csv"])
    OmegaConf.update(cfg, "trainer.limit_val_batches", 0, force_add=True)  # not allowed in a run
    plain, ours = [], []
    for _ in range(REPETITIONS):
        plain.append(plain_step(cfg))
        with tempfile.TemporaryDirectory() as folder:
            ours.append(our_step(cfg, Path(folder)))
    return {
        "lag": lag,
        "plain_step_ms": 1000 * statistics.median(plain),
        "ours_over_plain": spread([mine / theirs for mine, theirs in zip(ours, plain, strict=True)]),
        "ours_beyond_plain_ms": spread([1000 * (mine - theirs) for mine, theirs in zip(ours, plain, strict=True)]),
    }


def batch_share(task: str, overrides: list[str]) -> dict[str, Any]:
    """The time to make a batch of a task relative to the plain step, at the longest lag."""
    cfg = composed([f"task={task}", *overrides, f"lag={max(STEPS)}", f"max_steps={2 * UNCOUNTED}"])
    shares = [batch_making(cfg) / plain_step(cfg) for _ in range(REPETITIONS)]
    return {"task": task, "lag": max(STEPS), "batch_over_plain": spread(shares)}


def composed(overrides: list[str]) -> DictConfig:
    """The configuration, as train.py would compose it."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = hydra.compose("config", overrides)
    check(cfg)
    torch.set_num_threads(cfg.runtime.threads or torch.get_num_threads())
    return cfg


def spread(ratios: list[float]) -> dict[str, float]:
    """Median, minimum and maximum."""
    return {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}


def in_words(ratios: dict[str, float]) -> str:
    """A spread as the text of a table entry."""
    return f"{ratios['median']:.4f}  ({ratios['min']:.4f} to {ratios['max']:.4f})"


def main() -> None:
    """Measure, print the tables, and save the results if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--save", type=Path, help="write the results to this JSON file")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    arguments = parser.parse_args()
    rows = [compare(lag, arguments.overrides) for lag in STEPS]
    steps = Table("lag", "plain step", "ours / plain", "beyond plain, ms", title="training step")
    for row in rows:
        steps.add_row(
            str(row["lag"]),
            f"{row['plain_step_ms']:.1f} ms",
            *map(in_words, (row["ours_over_plain"], row["ours_beyond_plain_ms"])),
        )
    Console().print(steps)
    tasks = sorted(path.stem for path in (CONF / "task").glob("*.yaml"))
    shares = [batch_share(task, arguments.overrides) for task in tasks]
    batches = Table("task", "making a batch / plain step", title=f"batches at lag {max(STEPS)}")
    for row in shares:
        batches.add_row(row["task"], in_words(row["batch_over_plain"]))
    Console().print(batches)
    if arguments.save:
        command = " ".join(["python benchmarks/training_step.py", *arguments.overrides])
        result = {
            "command": command,
            "environment": environment(torch.device("cpu"), malloc.in_use()),
            "allocator": "stock",
            "rows": rows,
            "batches": shares,
        }
        write_text(arguments.save, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    with errors_in_one_line():
        main()
