"""The training step: the learning rate over time, the gradient's norm and its clipping, what is logged, divergence."""

import copy
from functools import partial

import pytest
import torch

from helpers.command import compose
from helpers.learning import BATCH, RATE, SEED, fit
from longlag.assemble import make_optimizer
from longlag.models.network import Network
from longlag.models.rnn import RNN
from longlag.stream import Seeds
from longlag.tasks.copy import Copy
from longlag.training.learner import Diverged, Learner, rate_factor


class Nan(Copy):
    """A task whose loss is no number."""

    def measure(self, outputs, batch):
        return {name: values * float("nan") for name, values in super().measure(outputs, batch).items()}


def make_learner(task: Copy = Copy(lag=5), schedule: str = "constant") -> Learner:  # noqa: B008
    torch.manual_seed(SEED)
    network = Network(task, partial(RNN, hidden_size=8))
    return Learner(network, task, partial(torch.optim.SGD, lr=RATE), schedule)


def weights(learner: Learner) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in learner.network.parameters()])


def test_rate_rises_and_stays():
    assert [rate_factor(step, 10, "constant", 4) for step in (0, 1, 3, 4, 9)] == [0.25, 0.5, 1.0, 1.0, 1.0]


def test_rate_is_constant_without_warm_up():
    assert {rate_factor(step, 10, "constant", 0) for step in range(10)} == {1.0}


def test_rate_rises_and_falls_to_nothing():
    rates = [rate_factor(step, 12, "cosine", 2) for step in range(13)]
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert rates[7] == pytest.approx(0.5)
    assert rates[12] == pytest.approx(0.0, abs=1e-12)
    assert rates[2:] == sorted(rates[2:], reverse=True)


def test_rate_where_warm_up_takes_all_steps():
    assert [rate_factor(step, 2, "cosine", 2) for step in range(3)] == [0.5, 1.0, 1.0]


def test_rate_is_stepped_each_step():
    logged = fit(make_learner(schedule="cosine"), steps=4)
    for step in (1, 2, 3, 4):
        assert logged[step]["train/lr"] == pytest.approx(RATE * rate_factor(step - 1, 4, "cosine", 0), abs=1e-6)


@pytest.mark.parametrize("clip", [None, 1e-3])
def test_logged_norm_is_the_one_before_clipping(clip: float | None):
    learner = make_learner()
    twin = copy.deepcopy(learner)
    twin.training_step(learner.task.batch(BATCH, Seeds(SEED).generator("train", learner.task.lag, 0)), 0).backward()
    gradient = torch.cat([weight.grad.flatten() for weight in twin.network.parameters()])
    logged = fit(learner, steps=1, gradient_clip_val=clip)
    assert logged[1]["train/gradient_norm"] == pytest.approx(gradient.norm().item(), rel=1e-5)
    moved = (weights(learner) - weights(twin)).norm().item()
    assert moved == pytest.approx(RATE * (clip or gradient.norm().item()), rel=1e-3)


def test_small_gradients_are_not_clipped():
    free, bounded = make_learner(), make_learner()
    fit(free, steps=2)
    fit(bounded, steps=2, gradient_clip_val=1e3)
    assert torch.equal(weights(free), weights(bounded))


def test_what_is_logged_are_means(monkeypatch: pytest.MonkeyPatch):
    losses, step = [], Learner.training_step

    def spy(learner: Learner, batch: object, index: int) -> torch.Tensor:
        losses.append(step(learner, batch, index))
        return losses[-1]

    monkeypatch.setattr(Learner, "training_step", spy)
    logged = fit(make_learner(), steps=7, log_every_n_steps=3)
    assert sorted(logged) == [3, 6]
    for end in (3, 6):
        mean = torch.stack(losses[end - 3 : end]).mean().item()
        assert logged[end]["train/loss"] == pytest.approx(mean, rel=1e-6)


def test_what_is_logged_has_names():
    task = Copy(lag=5)
    logged = fit(make_learner(task), steps=2, limit_val_batches=None, val_check_interval=2, num_sanity_val_steps=0,
                 check_val_every_n_epoch=None)  # fmt: skip
    train = {f"train/{name}" for name in (*task.measures, "gradient_norm", "lr", "lag")}
    val = {f"val/{name}" for name in (*task.measures, "chance")}
    assert set(logged[2]) - {"epoch"} == train | val
    assert logged[2]["val/chance"] == task.chance


def test_a_loss_that_is_no_number_in_training():
    with pytest.raises(Diverged, match="the training loss is nan by step 2"):
        fit(make_learner(Nan(lag=5)), steps=4, log_every_n_steps=2)


def test_a_loss_that_is_no_number_in_validation():
    with pytest.raises(Diverged, match="the validation loss is nan by step 2"):
        fit(make_learner(Nan(lag=5)), steps=4, log_every_n_steps=100, limit_val_batches=None, val_check_interval=2,
            num_sanity_val_steps=0, check_val_every_n_epoch=None)  # fmt: skip


def adam(*overrides: str) -> torch.optim.Optimizer:
    return make_optimizer(compose(*overrides))([torch.nn.Parameter(torch.zeros(2))])


def test_the_fused_optimiser_is_used_unless_something_else_is_chosen():
    assert adam().defaults["fused"] is True
    assert adam("optimizer._target_=torch.optim.AdamW").defaults["fused"] is True
    assert adam("+optimizer.foreach=true").defaults["fused"] is not True
    assert adam("+optimizer.fused=false").defaults["fused"] is False
    assert "fused" not in adam("optimizer._target_=torch.optim.RMSprop").defaults
    assert not adam("trainer.precision=16-mixed").defaults["fused"]  # Lightning could not clip the gradient
