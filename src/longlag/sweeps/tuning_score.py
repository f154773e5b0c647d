"""The tuning score of a run. Needs no torch."""

from longlag import records
from longlag.records import Record
from longlag.training import budget


def tuning_score(record: Record) -> float | None:
    """The tuning score, in [0, 1]: the validation accuracy, averaged over the steps of the budget.

    Each validation counts for the steps since the one before it, the last one also for the steps that the run did not
    take. Learning early and a high final accuracy both raise the score. It is 0 for a run that diverged, None for one
    that did not finish.
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
