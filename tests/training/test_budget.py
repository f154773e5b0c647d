"""Budgets: what is used up first ends the training, and the record says what that was."""

import time
from types import SimpleNamespace

import pytest
import torch

from helpers.command import compose
from longlag.stream import Seeds
from longlag.tasks.copy import Copy
from longlag.training import budget
from longlag.training.budget import Budget
from longlag.training.callbacks import Computing, Watch

NEVER = "task.solved_at=null"


def test_steps_are_what_both_allow():
    assert budget.steps(compose("max_steps=70", "batch_size=10")) == 70
    assert budget.steps(compose("max_steps=70", "batch_size=10", "budget.sequences=309")) == 30
    assert budget.steps(compose("max_steps=7", "batch_size=10", "budget.sequences=309")) == 7


def test_less_than_a_batch():
    with pytest.raises(ValueError, match=r"^budget\.sequences=9 is less than one batch of batch_size=10; raise it"):
        budget.steps(compose("batch_size=10", "budget.sequences=9"))


@pytest.mark.parametrize(
    ("overrides", "steps", "ended_by"),
    [
        (["max_steps=4", NEVER], 4, "steps"),
        (["max_steps=4", "batch_size=8", "budget.sequences=24", NEVER], 3, "sequences"),
        (["max_steps=400", "budget.seconds=1e-9", NEVER], 1, "seconds"),
        (["max_steps=400", "task.solved_at=1e-9"], 4, "solved"),
        (["max_steps=8", "budget.no_progress_at=0.5", NEVER], 4, "no progress"),
    ],
)
def test_what_ends_a_run(run_small, overrides: list[str], steps: int, ended_by: str):
    _, record = run_small(*overrides)
    assert (record["cost"]["steps"], record["ended_by"]) == (steps, ended_by)
    assert record["cost"]["sequences"] == steps * record["config"]["batch_size"]
    assert record["learning_curve"][-1]["step"] == steps  # the last step is validated, whatever was the last


def test_the_schedule_knows_where_the_sequences_end(run_small, monkeypatch: pytest.MonkeyPatch):
    """A cosine goes down to 0 at the last step of the budget, not at max_steps."""
    rates = []
    monkeypatch.setattr(
        "longlag.training.learner.rate_factor", lambda step, steps, *rest: rates.append((step, steps)) or 1.0
    )
    run_small("max_steps=400", "batch_size=8", "budget.sequences=24", "lr_schedule=cosine", NEVER)
    assert {steps for _, steps in rates} == {3}


@pytest.mark.parametrize(
    ("steps_done", "seconds", "best_loss", "gives_up"),
    [
        (0.79, 0.0, 2.0, False),
        (0.80, 0.0, 2.0, True),
        (0.80, 0.0, 1.97, True),  # noise
        (0.99, 99.0, 1.95, False),  # it has begun to remember
        (0.10, 80.0, 2.0, True),  # four fifths of the time are as good as of the steps
    ],
)
def test_giving_up(steps_done: float, seconds: float, best_loss: float, gives_up: bool):
    limits = Budget(seconds=100.0, no_progress_at=0.8, memoryless_loss=2.0)
    assert limits.no_progress(steps_done, seconds, best_loss) is gives_up
    assert not limits._replace(no_progress_at=None).no_progress(steps_done, seconds, best_loss)


def test_devices_run_out_of_time_together():
    """The clock of another device has run out, ours has not."""
    watch = Watch(None, Budget(seconds=1e9))
    together = SimpleNamespace(root_device=torch.device("cpu"), reduce_boolean_decision=lambda over, all: over)
    trainer = SimpleNamespace(global_step=1, max_steps=9, should_stop=False, world_size=2, strategy=together)
    watch.on_train_start(trainer)
    watch.on_train_batch_end(trainer, None, None, Copy(lag=5).batch(1, Seeds(0).generator("train", 5, 0)), 0)
    assert not trainer.should_stop
    together.reduce_boolean_decision = lambda over, all: True
    watch.on_train_batch_end(trainer, None, None, Copy(lag=5).batch(1, Seeds(0).generator("train", 5, 0)), 0)
    assert (trainer.should_stop, watch.ended_by) == (True, "seconds")


def test_random_state_is_that_of_the_seed(run_small, tmp_path):
    """What is tried to match a size leaves no trace: the weights are those of the same widths without a budget."""
    _, matched = run_small("model=lstm", "budget.parameters=2888", folder=tmp_path / "matched")
    width = matched["cost"]["hidden_size"]
    _, given = run_small("model=lstm", f"model.hidden_size={width}", folder=tmp_path / "given")
    assert matched["learning_curve"] == given["learning_curve"]
    weights = [
        torch.load(tmp_path / name / "model.ckpt", weights_only=True)["state_dict"] for name in ("matched", "given")
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[1])


def test_time_that_others_take_does_not_count():
    """On a CPU a thread that waits computes nothing; elsewhere it may wait for the device."""
    ours, clock = Computing("cpu", so_far=5.0), Computing("cuda", so_far=5.0)
    time.sleep(0.2)
    assert 5.0 <= ours.so_far < 5.1
    assert clock.so_far >= 5.2
