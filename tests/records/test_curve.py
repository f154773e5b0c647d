"""A run is still improving if its loss fell at the very end; old records get the flag from their learning curves."""

import pytest
import yaml

from helpers.places import ROOT
from longlag.records.curve import still_improving
from longlag.records.upgrade import upgrade
from longlag.report.groups import find
from longlag.training.budget import Budget

BASELINE = 2.0  # so that 2% of it are .04
RESULTS = ROOT / "docs" / "results"


def curve(*losses: float) -> list[dict[str, float]]:
    """Validations at steps 100, 200, …"""
    return [{"step": 100 * (number + 1), "loss": loss, "accuracy": 0.0} for number, loss in enumerate(losses)]


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ((2.0, 1.9, 1.9, 1.9, 1.9, 1.9, 1.9, 1.9, 1.9, 1.8), True),  # the fifth begins after step 800
        ((2.0, 1.9, 1.9, 1.9, 1.9, 1.9, 1.9, 1.9, 1.85, 1.95), True),
        ((2.0, 1.9, 1.9, 1.9, 1.9, 1.9, 1.9, 1.8, 1.79, 1.77), False),  # by less than .04
        ((2.0, 1.0, 1.9, 1.9, 1.9, 1.9, 1.9, 1.8, 1.7, 1.5), False),  # the best one was early
        ((2.0,) * 10, False),
        ((1.0,), None),
        ((), None),
    ],
)
def test_still_improving(losses, expected):
    assert still_improving(curve(*losses), BASELINE) is expected


def test_old_records_get_the_flag():
    runs = find([RESULTS / "gap"])
    marked = [run for run in runs if run["still_improving"]]
    assert marked
    assert not any(run["solved"] for run in marked)
    assert all(run["ended_by"] == "steps" for run in marked)
    stored = dict(marked[0])
    assert upgrade(stored | {"still_improving": False})["still_improving"] is False  # what is stored is kept


def test_no_kept_run_would_have_been_cut_before_it_was_solved():
    """The early end for no progress, as the horizon search uses it, replayed on all learning curves that are kept."""
    at = yaml.safe_load((ROOT / "conf" / "experiment" / "horizon.yaml").read_text())["budget"]["no_progress_at"]
    solved = [run for run in find([RESULTS]) if run["solved"] and "memoryless_loss" in run["test"]]
    assert len(solved) > 100
    assert [run["folder"] for run in solved if cut(run, at)] == []
    assert any(cut(run, 0.5) for run in solved)  # the replay can tell


def cut(run, at: float) -> bool:
    """Whether the run would have ended for no progress before it was solved."""
    budget = Budget(None, at, run["test"]["memoryless_loss"])
    cfg = run["config"]
    steps = min(cfg["max_steps"], (cfg["budget"]["sequences"] or 10**9) // cfg["batch_size"])
    best = float("inf")
    for point in run["learning_curve"]:
        best = min(best, point["loss"])
        if point["step"] < (run["steps_to_solve"] or steps) and budget.no_progress(point["step"] / steps, 0, best):
            return True
    return False
