"""The budget of a run: optimiser steps, training sequences, seconds. The first that is used up ends the training."""

from typing import NamedTuple

from omegaconf import DictConfig

BEGUN = 0.98  # fraction of the memoryless loss; a validation loss below it shows that the network uses its memory


class Budget(NamedTuple):
    """The limits of a run other than the number of steps.

    Attributes:
        seconds: computing seconds that the training may take, validations included; None: no limit.
        no_progress_at: fraction of the budget after which a run ends as `no progress` if its validation loss has never
            been below `BEGUN * memoryless_loss`; None: never.
        memoryless_loss: loss of the best model without memory, in the unit of the task's loss.
    """

    seconds: float | None = None
    no_progress_at: float | None = None
    memoryless_loss: float = 0.0

    def out_of_time(self, seconds: float) -> bool:
        """Whether these computing seconds use up the budget."""
        return self.seconds is not None and seconds >= self.seconds

    def no_progress(self, steps_done: float, seconds: float, best_loss: float) -> bool:
        """Whether to end the run because it has not beaten the memoryless baseline.

        Args:
            steps_done: fraction of the optimiser steps done so far.
            seconds: computing seconds so far.
            best_loss: the lowest validation loss so far.
        """
        if self.no_progress_at is None or best_loss < BEGUN * self.memoryless_loss:
            return False
        return max(steps_done, seconds / self.seconds if self.seconds else 0.0) >= self.no_progress_at


def of(cfg: DictConfig, memoryless_loss: float) -> Budget:
    """The limits that the configuration sets for a run."""
    return Budget(cfg.budget.seconds, cfg.budget.no_progress_at, memoryless_loss)


def steps(cfg: DictConfig) -> int:
    """The number of optimiser steps that both `max_steps` and `budget.sequences` allow.

    Raises ValueError if `budget.sequences` is less than one batch.
    """
    sequences = cfg.budget.sequences
    if sequences is None:
        return int(cfg.max_steps)
    if sequences < cfg.batch_size:
        raise ValueError(
            f"budget.sequences={sequences} is less than one batch of batch_size={cfg.batch_size}; "
            "raise it, or lower batch_size"
        )
    return int(min(cfg.max_steps, sequences // cfg.batch_size))


def last_of(cfg: DictConfig) -> str:
    """The limit that the last of these steps reaches: `steps` or `sequences`."""
    return "steps" if steps(cfg) == cfg.max_steps else "sequences"
