"""The Lightning Trainer of a run: where it runs, how long, and what it is not to say."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.plugins.environments import SLURMEnvironment
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from longlag.instantiate import TRAINER, build
from longlag.training import budget

EXPECTED = (
    ".*does not have many workers",  # batches cost next to nothing
    ".*exists and is not empty",  # the run's own folder, which holds its record
    "GPU available but not used",
    r"It is recommended to use `self.log\(",  # with sync_dist; validation means are synchronised before they are logged
    r".*isinstance\(treespec, LeafSpec\)",  # Lightning 2.6 with torch 2.13
    "The `srun` command is available",  # a run outside of SLURM is none of its business
)


def make_trainer(cfg: DictConfig, folder: Path, callbacks: list[pl.Callback]) -> pl.Trainer:
    """The Lightning Trainer."""
    found = accelerator(cfg.trainer.accelerator)
    if found == "cpu" and OmegaConf.is_list(cfg.trainer.devices):
        raise ValueError(f"trainer.devices={cfg.trainer.devices}: CPU devices have no numbers; say how many")
    try:
        with quietly():
            trainer: pl.Trainer = build(
                cfg.trainer,
                TRAINER,
                accelerator=found,
                default_root_dir=str(folder),  # under SLURM, Lightning takes up what it finds there
                max_steps=budget.steps(cfg),
                max_epochs=-1,
                val_check_interval=cfg.validation.every,
                check_val_every_n_epoch=None,  # counts steps, not epochs: the stream has no end
                num_sanity_val_steps=0,
                logger=False,
                callbacks=callbacks,
                enable_checkpointing=False,  # see Checkpoints
                enable_progress_bar=False,
                enable_model_summary=False,
                use_distributed_sampler=False,
                plugins=[SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else None,
            )
    except MisconfigurationException as error:
        raise ValueError(f"trainer: {error}") from error
    if cfg.batch_size % trainer.world_size:
        raise ValueError(f"batch_size={cfg.batch_size} cannot be shared evenly among {trainer.world_size} devices")
    return trainer


def starts_processes(trainer: pl.Trainer) -> bool:
    """Whether the run takes several processes that nobody has started. Raises ValueError for several machines."""
    cluster = trainer.strategy.cluster_environment if trainer.world_size > 1 else None
    if cluster is None or cluster.creates_processes_externally:
        return False
    if trainer.num_nodes > 1:
        raise ValueError(f"trainer.num_nodes={trainer.num_nodes} needs srun or torchrun to start a process per device")
    return True


def accelerator(asked: str) -> str:
    """`auto` is an NVIDIA GPU or the CPU. Raises ValueError where a GPU is asked for and there is none."""
    if asked == "auto":
        return "gpu" if torch.cuda.is_available() else "cpu"
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not {"gpu": any(there.values()), **there}.get(asked, True):
        raise ValueError("trainer: there is no GPU here; use trainer=auto or trainer=cpu")
    return asked


@contextmanager
def quietly() -> Iterator[None]:
    """Without Lightning's messages about what we do on purpose; they are no news to the user."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with warnings.catch_warnings():
        for message in EXPECTED:
            warnings.filterwarnings("ignore", message=message)
        yield


def all_threads() -> int:
    """As many as the machine has cores, or OMP_NUM_THREADS."""
    return int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
