"""The Lightning Trainer of a run: its devices, its number of steps, and the messages that are suppressed."""

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

EXPECTED = (  # warnings to suppress, as regular expressions
    ".*does not have many workers",  # making a batch takes little time compared with a step
    ".*exists and is not empty",  # the folder of the run, which already holds its record
    "GPU available but not used",
    r"It is recommended to use `self.log\(",  # with sync_dist; validation means are synchronised before they are logged
    r".*isinstance\(treespec, LeafSpec\)",  # Lightning 2.6 with torch 2.13
    "The `srun` command is available",  # a run on a Slurm machine need not be a Slurm job
)


def make_trainer(cfg: DictConfig, folder: Path, callbacks: list[pl.Callback]) -> pl.Trainer:
    """The Lightning Trainer that `trainer` describes. Raises ValueError if its settings do not fit this machine."""
    found = accelerator(cfg.trainer.accelerator)
    if found == "cpu" and OmegaConf.is_list(cfg.trainer.devices):
        raise ValueError(
            f"trainer.devices={cfg.trainer.devices}: the devices of a CPU have no numbers; give how many to use"
        )
    try:
        with quietly():
            trainer: pl.Trainer = build(
                cfg.trainer,
                TRAINER,
                accelerator=found,
                default_root_dir=str(folder),  # under Slurm, Lightning resumes from checkpoints that it finds there
                max_steps=budget.steps(cfg),
                max_epochs=-1,
                val_check_interval=cfg.validation.every,
                check_val_every_n_epoch=None,  # validations are counted in steps: the stream has no epochs
                num_sanity_val_steps=0,
                logger=False,
                callbacks=callbacks,
                enable_checkpointing=False,  # the callback Checkpoints does it
                enable_progress_bar=False,
                enable_model_summary=False,
                use_distributed_sampler=False,
                plugins=[SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else None,
            )
    except MisconfigurationException as error:
        if "interactive environment" in str(error):
            raise ValueError(
                "trainer=ddp does not work in a notebook: use trainer=auto, or put the training into a script"
            ) from None
        raise ValueError(f"trainer: {error}") from error
    if cfg.batch_size % trainer.world_size:
        raise ValueError(f"batch_size={cfg.batch_size} cannot be shared evenly among {trainer.world_size} devices")
    return trainer


def starts_processes(trainer: pl.Trainer) -> bool:
    """Whether this run has to start its own processes: it needs several, and neither srun nor torchrun started them.

    Raises ValueError if it would have to start them on several machines.
    """
    cluster = trainer.strategy.cluster_environment if trainer.world_size > 1 else None
    if cluster is None or cluster.creates_processes_externally:
        return False
    if trainer.num_nodes > 1:
        raise ValueError(f"trainer.num_nodes={trainer.num_nodes} needs srun or torchrun to start a process per device")
    return True


def accelerator(asked: str) -> str:
    """The accelerator to use; `auto` means an NVIDIA GPU, or the CPU if there is none.

    Raises ValueError if a GPU is asked for and there is none.
    """
    if asked == "auto":
        return "gpu" if torch.cuda.is_available() else "cpu"
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not {"gpu": any(there.values()), **there}.get(asked, True):
        raise ValueError("trainer: there is no GPU here; use trainer=auto or trainer=cpu")
    return asked


@contextmanager
def quietly() -> Iterator[None]:
    """Suppress Lightning's messages about things that longlag does on purpose."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with warnings.catch_warnings():
        for message in EXPECTED:
            warnings.filterwarnings("ignore", message=message)
        yield


def all_threads() -> int:
    """The number of CPU threads if `runtime.threads` is null: OMP_NUM_THREADS, or the number of cores."""
    return int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
