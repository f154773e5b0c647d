"""What tuning looks at. Needs no torch."""

from longlag import records
from longlag.records import Record
from longlag.training import budget


def tuning_score(record: Record) -> float | None:
    """What tuning looks at, in [0, 1]: the validation accuracy, averaged over the steps of the budget.

    Each validation speaks for the steps since the one before it, the last one also for those that the run did not take:
    learning sooner counts, and so does ending well. 0 of a run that diverged; None of one that did not come to its end.
    """
    if record["status"] == "diverged":
        return 0.0
    if record["status"] != "finished" or not record["learning_curve"]:
        return None
    steps = budget.steps(records.config_of(record))
    passed, total, accuracy = 0, 0.0, 0.0
    for point in record["learning_curve"]:
        accuracy = point["accuracy"]
        total += accuracy * (point["step"] - passed)
        passed = point["step"]
    return (total + accuracy * (steps - passed)) / steps
