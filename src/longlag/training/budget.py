"""What a run may take: optimiser steps, training sequences, seconds. The first that is used up ends the training."""

from typing import NamedTuple

from omegaconf import DictConfig

BEGUN = 0.98  # of the memoryless loss: below, a run has begun to remember


class Budget(NamedTuple):
    """Limits beside the number of steps.

    Attributes:
        seconds: of computing, validations included; None: any time.
        give_up_at: share of the budget at which a run is ended whose validation loss has never been below BEGUN times
            that of a model without memory; None: never.
        memoryless_loss: that loss.
    """

    seconds: float | None = None
    give_up_at: float | None = None
    memoryless_loss: float = 0.0

    def out_of_time(self, seconds: float) -> bool:
        """Whether the time is up."""
        return self.seconds is not None and seconds >= self.seconds

    def hopeless(self, steps_done: float, seconds: float, best_loss: float) -> bool:
        """Whether to give up, after this share of the steps and these seconds."""
        if self.give_up_at is None or best_loss < BEGUN * self.memoryless_loss:
            return False
        return max(steps_done, seconds / self.seconds if self.seconds else 0.0) >= self.give_up_at


def of(cfg: DictConfig, memoryless_loss: float) -> Budget:
    """The limits of a run."""
    return Budget(cfg.budget.seconds, cfg.budget.give_up_at, memoryless_loss)


def steps(cfg: DictConfig) -> int:
    """The optimiser steps that both `max_steps` and `budget.sequences` allow.

    Raises ValueError where the sequences are not enough for one.
    """
    sequences = cfg.budget.sequences
    if sequences is None:
        return int(cfg.max_steps)
    if sequences < cfg.batch_size:
        raise ValueError(f"budget.sequences={sequences} is less than one batch of batch_size={cfg.batch_size}")
    return int(min(cfg.max_steps, sequences // cfg.batch_size))


def last_of(cfg: DictConfig) -> str:
    """What runs out with the last of these steps."""
    return "steps" if steps(cfg) == cfg.max_steps else "sequences"
