"""What the learning curve of a run says of its end. Needs no torch."""

from collections.abc import Sequence
from typing import Any

IMPROVING = 0.02  # fraction of the memoryless loss by which a run that is still improving gets better at last
LAST = 0.2  # the part of the training that counts as its end


def still_improving(curve: Sequence[Any], memoryless_loss: float) -> bool | None:
    """Whether a run was still getting better when its training ended: more steps might have changed its result.

    The best validation loss lies in the last fifth of the training, and is lower than the best one before by 2% of the
    memoryless loss.

    Args:
        curve: `{step, loss, …}` at each validation.
        memoryless_loss: loss of the best model without memory.

    Returns:
        None if all validations lie in the last fifth.
    """
    ends = (1 - LAST) * curve[-1]["step"] if curve else 0
    before = [point["loss"] for point in curve if point["step"] <= ends]
    at_last = [point["loss"] for point in curve if point["step"] > ends]
    return min(at_last) < min(before) - IMPROVING * memoryless_loss if before and at_last else None
