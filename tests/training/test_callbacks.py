"""Watch: when a run counts as solved, and that its last step is validated."""

import csv
from types import SimpleNamespace

import pytest
import torch

from longlag.stream import Seeds
from longlag.tasks.copy import Copy
from longlag.training.callbacks import Watch

EVERY = 50


def watched(scores: list[float], solved_at: float | None = 0.9) -> tuple[Watch, int]:
    """A run with these validation scores, EVERY steps apart; returns the callback and how many it saw."""
    watch, seen = Watch(solved_at), 0
    trainer = SimpleNamespace(
        global_step=0,
        max_steps=EVERY * len(scores),
        callback_metrics={},
        should_stop=False,
        world_size=1,
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
    )
    batch = Copy(lag=5).batch(1, Seeds(0).generator("train", 5, 0))
    watch.on_train_start(trainer)
    while not trainer.should_stop:
        trainer.global_step += EVERY
        watch.on_train_batch_end(trainer, None, None, batch, 0)
        trainer.callback_metrics |= {"val/accuracy": scores[seen], "val/loss": 1 - scores[seen]}
        watch.on_validation_start(trainer)
        watch.on_validation_end(trainer)
        seen += 1
    return watch, seen


@pytest.mark.parametrize(
    ("scores", "first", "seen"),
    [
        ([0.9, 0.9, 0.0, 0.0], 1, 2),  # as good as `solved_at` is good enough
        ([0.1, 0.95, 1.0, 0.0], 2, 3),
        ([0.1, 0.95, 0.1, 0.95, 0.95, 0.0], 4, 5),  # a broken streak starts anew
        ([0.1, 0.95, 0.95], 2, 3),  # at the last step
    ],
)
def test_solved_twice_running(scores: list[float], first: int, seen: int):
    watch, saw = watched(scores)
    assert (watch.solved, watch.steps_to_solve, saw) == (True, first * EVERY, seen)
    assert 0 < watch.seconds_to_solve <= watch.seconds
    assert [(at["step"], at["accuracy"]) for at in watch.curve] == [
        (EVERY * (number + 1), score) for number, score in enumerate(scores[:seen])
    ]


@pytest.mark.parametrize(
    "scores",
    [
        [0.1, 0.89, 0.89],
        [0.95, 0.1, 0.95, 0.1],
        [0.1, 0.1, 0.95],  # once, at the end
        [float("nan"), float("nan")],
    ],
)
def test_not_solved(scores: list[float]):
    watch, saw = watched(scores)
    assert not watch.solved
    assert watch.ended_by == "steps"
    assert saw == len(scores)


def test_nothing_to_solve():
    watch, saw = watched([1.0, 1.0, 1.0], solved_at=None)
    assert (watch.solved, watch.steps_to_solve, saw) == (False, None, 3)


@pytest.mark.parametrize(
    ("max_steps", "every", "validated"),
    [(4, 2, [2, 4]), (5, 2, [2, 4, 5]), (3, 100, [3]), (1, 1, [1]), (3, 3, [3])],
)
def test_the_last_step_is_validated(run_small, max_steps: int, every: int, validated: list[int]):
    folder, record = run_small(f"max_steps={max_steps}", f"validation.every={every}", "logger=csv")
    with (folder / "metrics.csv").open() as file:
        steps = [int(float(row["step"])) for row in csv.DictReader(file) if row["val/loss"]]
    assert steps == validated
    assert record["cost"]["steps"] == max_steps
