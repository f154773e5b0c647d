"""The lags of training sequences: the task's own, drawn anew, or growing, and what a run makes of them."""

import copy
from collections import Counter
from functools import partial
from itertools import islice

import pytest
import torch

from helpers.learning import BATCH, SEED, fit
from longlag.lag_modes import Curriculum, Fixed, LagMode, Uniform
from longlag.measure.lags import over_lags
from longlag.models.network import Network
from longlag.models.rnn import RNN
from longlag.run import load
from longlag.stream import Seeds, TrainStream, fixed_batches
from longlag.tasks.copy import Copy
from longlag.tasks.task import Batch
from longlag.tasks.text import Text
from longlag.training.learner import Learner

TASK = Copy(lag=20)


def stream(lags: LagMode, batches: int, start: int = 0, rank: int = 0, ranks: int = 1) -> list[Batch]:
    return list(islice(TrainStream(lags, Seeds(SEED), BATCH, start, rank, ranks), batches))


def lags_of(batches: list[Batch]) -> list[int]:
    return [batch.inputs.shape[1] - 1 for batch in batches]


def equal(one: Batch, other: Batch) -> bool:
    return all(map(torch.equal, one, other))


def grown(*growth: tuple[int, int]) -> list[dict[str, int]]:
    return [{"batch": batch, "lag": lag} for batch, lag in growth]


def test_fixed_keeps_to_the_lag():
    lags = Fixed(TASK)
    lags.heed(3, 1.0)
    assert lags_of(stream(lags, 6)) == [20] * 6
    assert (lags.lag, lags.growth) == (20, grown((0, 20)))


def test_uniform_draws_every_lag_equally_often():
    lags, task = Uniform(Copy(lag=11)), Copy(lag=11)
    counts = Counter(lags.task_of(batch, Seeds(0).generator("lag", 0, batch)).lag for batch in range(2000))
    assert set(counts) == set(range(task.min_lag, 12))
    sigma = (2000 * 0.1 * 0.9) ** 0.5
    assert all(abs(count - 200) < 4 * sigma for count in counts.values())


def test_uniform_lags_depend_on_seed_and_batch_alone():
    whole = stream(Uniform(TASK), 8)
    assert len(set(lags_of(whole))) > 3
    assert all(map(equal, stream(Uniform(TASK), 3, start=5), whole[5:]))
    used = Uniform(TASK)
    used.heed(3, 1.0)
    stream(used, 5)
    assert all(map(equal, stream(used, 8), whole))
    other = list(islice(TrainStream(Uniform(TASK), Seeds(SEED + 1), BATCH), 8))
    assert lags_of(other) != lags_of(whole)


@pytest.mark.parametrize("lags", [Uniform(TASK), Curriculum(TASK, first=4)])
def test_devices_share_batches_of_one_lag(lags):
    whole = stream(lags, 5)
    shares = [stream(lags, 5, rank=rank, ranks=2) for rank in range(2)]
    for rank, share in enumerate(shares):
        assert all(equal(part, batch.rows(rank, 2)) for part, batch in zip(share, whole, strict=True))


@pytest.mark.parametrize("mode", [Fixed, Uniform, Curriculum])
def test_training_sequences_are_of_the_training_part(mode, tmp_path):
    (tmp_path / "corpus.txt").write_text("a" * 80 + "b" * 20)
    task = Text(5, str(tmp_path / "corpus.txt"), (0.8, 0.2))
    batches = islice(TrainStream(mode(task.part("val")), Seeds(SEED), BATCH), 4)
    assert {symbol for batch in batches for symbol in task.corpus.decode(batch.inputs.flatten())} == {"a"}


def test_curriculum_starts_at_the_smallest_lag():
    assert Curriculum(TASK).lag == TASK.min_lag == 2
    assert lags_of(stream(Curriculum(TASK), 3)) == [2, 2, 2]
    assert lags_of(stream(Curriculum(TASK, first=7), 3)) == [7, 7, 7]


@pytest.mark.parametrize(("accuracy", "grows"), [(0.0, False), (0.8999, False), (0.9, True), (1.0, True)])
def test_curriculum_grows_at_the_threshold(accuracy, grows):
    lags = Curriculum(TASK, first=10, factor=1.5, threshold=0.9)
    lags.heed(5, accuracy)
    assert lags.lag == (15 if grows else 10)


def test_curriculum_does_not_grow_on_what_is_no_number():
    lags = Curriculum(TASK)
    lags.heed(5, float("nan"))
    assert lags.lag == 2


@pytest.mark.parametrize(
    ("first", "factor", "path"),
    [
        (None, 1.2, [2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 19, 20]),
        (None, 1.001, list(range(2, 21))),
        (5, 2, [5, 10, 20]),
        (3, 4.5, [3, 13, 20]),
        (19, 100, [19, 20]),
        (20, 2, [20]),
    ],
)
def test_curriculum_ends_exactly_at_the_lag(first, factor, path):
    lags = Curriculum(TASK, first, factor)
    for step in range(10, 400, 10):
        lags.heed(step, 1.0)
    assert [stage["lag"] for stage in lags.growth] == path


def test_curriculum_does_not_shrink():
    lags = Curriculum(TASK, first=5, factor=2)
    for step, accuracy in ((10, 1.0), (20, 0.0), (30, 0.0)):
        lags.heed(step, accuracy)
    assert lags.lag == 10


def test_a_new_lag_holds_from_the_batch_after_next_on():
    lags = Curriculum(TASK, first=5, factor=2)
    before = stream(lags, 5)
    lags.heed(3, 1.0)  # three steps are done: batches 0, 1, 2; batch 3 is made already
    after = stream(lags, 8)
    assert lags_of(after) == [5, 5, 5, 5, 10, 10, 10, 10]
    assert all(map(equal, after[:4], before))
    assert equal(after[4], TASK.at_lag(10).batch(BATCH, Seeds(SEED).generator("train", 10, 4)))
    assert all(map(equal, stream(lags, 3, start=5), after[5:]))


def test_a_running_stream_grows():
    lags, batches = Curriculum(TASK, first=5, factor=2), []
    for number, batch in enumerate(islice(TrainStream(lags, Seeds(SEED), BATCH), 6)):
        batches.append(batch)
        if number == 3:  # the one that is made ahead while step 3 is done
            lags.heed(3, 1.0)
    assert lags_of(batches) == [5, 5, 5, 5, 10, 10]


def test_accuracy_of_the_lag_before_does_not_count():
    lags = Curriculum(TASK, first=5, factor=2)
    for step in (1, 2, 3, 4):  # batch 2 is the first of lag 10, and heard of after step 3
        lags.heed(step, 1.0)
    assert lags.growth == grown((0, 5), (2, 10), (4, 20))


def test_the_record_has_the_lags_that_were_trained():
    lags = Curriculum(TASK, first=5, factor=2)
    lags.heed(3, 1.0)
    assert lags.until(4) == grown((0, 5))
    assert lags.until(5) == grown((0, 5), (4, 10))


def test_the_state_is_a_copy():
    lags, other = Curriculum(TASK, first=5), Curriculum(TASK, first=5)
    other.load_state_dict(lags.state_dict())
    other.heed(5, 1.0)
    assert lags.growth == grown((0, 5))


def test_growth_goes_on_from_a_checkpoint():
    lags = Curriculum(TASK, first=5, factor=1.5)
    for step in (2, 5, 7):
        lags.heed(step, 1.0)
    resumed = Curriculum(TASK, first=5, factor=1.5)
    resumed.load_state_dict(copy.deepcopy(lags.state_dict()))
    assert resumed.growth == lags.growth == grown((0, 5), (3, 7), (6, 10), (8, 15))
    assert all(map(equal, stream(resumed, 10), stream(lags, 10)))
    resumed.heed(9, 1.0)
    assert resumed.lag == 20


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"first": 1}, r"^lag_mode\.first must lie from 2 to lag=20, got 1$"),
        ({"first": 21}, r"^lag_mode\.first must lie from 2 to lag=20, got 21$"),
        ({"factor": 1}, r"^lag_mode\.factor must be above 1, got 1$"),
        ({"factor": 0.5}, r"^lag_mode\.factor must be above 1, got 0\.5$"),
        ({"factor": float("inf")}, r"^lag_mode\.factor must be above 1, got inf$"),
        ({"factor": float("nan")}, r"^lag_mode\.factor must be above 1, got nan$"),
        ({"threshold": 0}, r"^lag_mode\.threshold must be above 0 and at most 1, got 0$"),
        ({"threshold": 1.01}, r"^lag_mode\.threshold must be above 0 and at most 1, got 1\.01$"),
        ({"threshold": float("nan")}, r"^lag_mode\.threshold must be above 0 and at most 1, got nan$"),
    ],
)
def test_refused(knobs, message):
    with pytest.raises(ValueError, match=message):
        Curriculum(TASK, **knobs)


class Always(Copy):
    """A task on which every answer is right."""

    def measure(self, outputs, batch):
        return {"loss": outputs.square().mean(-1), "accuracy": torch.ones_like(batch.targets).float()}


def test_training_sequences_grow_while_the_trainer_runs(monkeypatch: pytest.MonkeyPatch):
    seen, step = [], Learner.training_step

    def spy(learner: Learner, batch: Batch, index: int) -> torch.Tensor:
        seen.append(batch)
        return step(learner, batch, index)

    monkeypatch.setattr(Learner, "training_step", spy)
    task = Always(lag=9)
    learner = make_learner(task, Curriculum(task, first=3, factor=2))
    logged = fit(learner, steps=10, log_every_n_steps=3)
    assert learner.lags.growth == grown((0, 3), (4, 6), (7, 9))
    assert lags_of(seen) == [3, 3, 3, 3, 6, 6, 6, 9, 9, 9]
    assert all(map(equal, seen, stream(learner.lags, 10)))  # batch i is the one that number i says
    assert {at: values["train/lag"] for at, values in logged.items()} == {3: 3.0, 6: 6.0, 9: 9.0}


def test_growth_is_part_of_a_checkpoint():
    task = Always(lag=9)
    learner, other = (make_learner(task, Curriculum(task, first=3, factor=2)) for _ in range(2))
    fit(learner, steps=3, log_every_n_steps=3)
    checkpoint: dict = {}
    learner.on_save_checkpoint(checkpoint)
    other.on_load_checkpoint(checkpoint)
    assert other.lags.growth == grown((0, 3), (4, 6))


def make_learner(task: Copy, lags: LagMode) -> Learner:
    torch.manual_seed(SEED)
    network = Network(task, partial(RNN, hidden_size=8))
    return Learner(network, task, partial(torch.optim.SGD, lr=0.1), lags=lags)


def test_a_run_with_a_curriculum(run_small, monkeypatch: pytest.MonkeyPatch):
    validated, step = set(), Learner.validation_step

    def spy(learner: Learner, batch: Batch, index: int) -> None:
        validated.update(lags_of([batch]))
        step(learner, batch, index)

    monkeypatch.setattr(Learner, "validation_step", spy)
    folder, record = run_small(
        "lag_mode=curriculum", "lag_mode.threshold=0.01", "lag_mode.factor=2", "trainer.log_every_n_steps=2",
        "max_steps=8", "task.solved_at=null",
    )  # fmt: skip
    assert record["training_lags"][:3] == grown((0, 2), (3, 4), (5, 6))
    assert record["training_lags"][-1]["lag"] == 6
    assert validated == {6}
    assert record["cost"]["steps"] == 8
    assert [point["lag"] for point in record["lag_curve"]] == [3, 6, 12]
    network, task, _ = load(folder)
    assert task.lag == 6
    assert over_lags(network, task, [6], Seeds(0), 16)[0]["loss"] == record["test"]["loss"]


@pytest.mark.parametrize("mode", ["fixed", "uniform"])
def test_a_run_without_growth(run_small, mode):
    _, record = run_small(f"lag_mode={mode}")
    assert record["training_lags"] == grown((0, 6))
    assert record["config"]["lag_mode"]["_target_"] == f"longlag.lag_modes.{mode.title()}"


def test_validation_and_test_do_not_know_the_lag_mode(run_small, tmp_path):
    _, fixed = run_small("max_steps=1", "lr=1e-30")
    _, uniform = run_small("max_steps=1", "lr=1e-30", "lag_mode=uniform", folder=tmp_path / "uniform")
    assert fixed["lag_curve"] == uniform["lag_curve"]
    assert {batch.inputs.shape[1] for batch in fixed_batches(TASK, "test", Seeds(0), 8)} == {21}
