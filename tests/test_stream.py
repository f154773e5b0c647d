"""Streams: every batch is a function of seed, split and number alone, however many devices and models share them."""

from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from helpers.command import MODELS, compose
from longlag import stream
from longlag.assemble import make_network, make_task
from longlag.lag_modes import Fixed, Uniform
from longlag.stream import EVALUATION_BATCH, SPLITS, Seeds, Streams, TrainStream, ValidationStream, fixed_batches
from longlag.tasks.copy import Copy
from longlag.tasks.task import Batch

NUMBERS = [270, 206, 199, 28], [318, 722, 511, 345]
TASK = Copy(lag=30, payload=2)


def equal(one: Batch, other: Batch) -> bool:
    return all(torch.equal(mine, theirs) for mine, theirs in zip(one, other, strict=True))


def joined(batches: list[Batch]) -> Batch:
    return Batch(*(torch.cat(parts) for parts in zip(*batches, strict=True)))


def woven(shares: list[Batch]) -> Batch:
    """The global batch of which rank r has the rows r, r + ranks, …"""
    return Batch(*(torch.stack(parts, dim=1).flatten(0, 1) for parts in zip(*shares, strict=True)))


def test_batch_depends_on_its_number_alone():
    stream = list(islice(TrainStream(Fixed(TASK), Seeds(3), batch_size=8), 5))
    assert equal(stream[4], TASK.batch(8, Seeds(3).generator("train", TASK.lag, 4)))
    assert not equal(stream[4], stream[3])
    assert not equal(stream[4], TASK.batch(8, Seeds(4).generator("train", TASK.lag, 4)))


def test_version_1_leaves_the_lag_out_and_version_2_has_it():
    """With version 1 the points along a curve at chance were one measurement repeated."""
    tasks = [Copy(lag=lag, payload=2) for lag in (10, 30, 100)]
    for version, alike in ((1, True), (2, False)):
        drawn = [next(fixed_batches(task, "test", Seeds(0, version), 64)).targets for task in tasks]
        assert torch.equal(drawn[0], drawn[1]) is torch.equal(drawn[0], drawn[2]) is alike
        trained = [next(iter(TrainStream(Fixed(task), Seeds(0, version), 64))).targets for task in tasks]
        assert torch.equal(trained[0], trained[1]) is torch.equal(trained[0], trained[2]) is alike


@pytest.mark.parametrize("version", [1, 2])
def test_the_numbers_of_a_version_never_change(version: int):
    """Stored runs go on with them: these are of the day that the version was made."""
    first = Seeds(seed=3, version=version).generator("val", lag=30, index=5).integers(0, 1000, 4)
    assert first.tolist() == {1: NUMBERS[0], 2: NUMBERS[1]}[version]


def test_where_the_lag_is_drawn_that_draw_does_not_depend_on_it():
    """The lag of a batch is the same whatever the largest lag was drawn before; the rest has it in its key."""
    lags = Uniform(Copy(lag=30, payload=2))
    stream = list(islice(TrainStream(lags, Seeds(0), 8), 4))
    for index, batch in enumerate(stream):
        task = lags.task_of(index, Seeds(0).generator("lag", 0, index))
        assert equal(batch, task.batch(8, Seeds(0).generator("train", task.lag, index)))
    assert len({batch.inputs.shape[1] for batch in stream}) > 1


def test_text_scores_the_same_characters_at_every_lag():
    task = make_task(compose("task=text", "lag=16"))
    ends = [next(fixed_batches(task.on_curve(lag), "test", Seeds(0), 32)).targets for lag in (1, 4, 16)]
    assert torch.equal(ends[0], ends[1])
    assert torch.equal(ends[0], ends[2])
    other = next(fixed_batches(task.at_lag(8).on_curve(4), "test", Seeds(0), 32)).targets
    assert not torch.equal(ends[0], other)


def test_stream_goes_on_where_it_stopped():
    whole = list(islice(TrainStream(Fixed(TASK), Seeds(0), 8), 6))
    rest = list(islice(TrainStream(Fixed(TASK), Seeds(0), 8, start=4), 2))
    assert all(map(equal, rest, whole[4:]))


def test_no_sequence_is_in_two_splits():
    rows = {split: {tuple(row) for row in joined(fixed(split, 512)).inputs.tolist()} for split in SPLITS}
    rows["train of another seed"] = {tuple(row) for row in joined(fixed("train", 512, seed=1)).inputs.tolist()}
    assert len(set.union(*rows.values())) == len(rows) * 512


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_devices_share_the_global_batch(ranks):
    (whole,) = islice(TrainStream(Fixed(TASK), Seeds(0), 8, start=3), 1)
    shares = [next(iter(TrainStream(Fixed(TASK), Seeds(0), 8, 3, rank, ranks))) for rank in range(ranks)]
    assert all(len(share.inputs) == 8 // ranks for share in shares)
    assert equal(woven(shares), whole)


def test_validation_is_the_same_every_time():
    validation = ValidationStream(TASK, Seeds(0), 200)
    first, again = list(validation), list(validation)
    assert all(map(equal, first, again))
    assert equal(joined(first), joined(fixed("val", 200)))
    shares = [joined(list(ValidationStream(TASK, Seeds(0), 200, rank, 2))) for rank in range(2)]
    assert equal(woven(shares), joined(first))


def test_validation_sequences_are_made_once_unless_they_are_large(monkeypatch: pytest.MonkeyPatch):
    made: list[int] = []
    make = Copy.batch
    monkeypatch.setattr(Copy, "batch", lambda *given: made.append(1) or make(*given))
    small = ValidationStream(TASK, Seeds(0), 200)
    assert all(map(equal, list(small), list(small)))
    assert len(made) == 2  # batches
    monkeypatch.setattr(stream, "KEPT", 100)
    large = ValidationStream(TASK, Seeds(0), 200)
    assert all(map(equal, list(large), list(large)))
    assert len(made) == 6


@pytest.mark.parametrize("sequences", [1, EVALUATION_BATCH, EVALUATION_BATCH + 2, 3 * EVALUATION_BATCH])
def test_as_many_fixed_sequences_as_asked(sequences):
    assert len(joined(fixed("test", sequences)).inputs) == sequences


def test_fewer_sequences_are_the_first_of_more():
    few, many = fixed("test", EVALUATION_BATCH), fixed("test", 3 * EVALUATION_BATCH)
    assert equal(few[0], many[0])


def test_loaders_follow_the_trainer():
    streams = Streams(TASK, Fixed(TASK), seeds=Seeds(0), batch_size=8, validation_sequences=20)
    streams.trainer = SimpleNamespace(global_step=7, global_rank=1, world_size=2)
    assert equal(
        next(iter(streams.train_dataloader())), TASK.batch(8, Seeds(0).generator("train", TASK.lag, 7)).rows(1, 2)
    )
    assert equal(next(iter(streams.val_dataloader())), fixed("val", 20)[0].rows(1, 2))


def test_global_random_state_is_left_alone():
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    fixed("val", 200)
    list(islice(TrainStream(Fixed(TASK), Seeds(0), 8), 3))
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


def test_all_models_see_the_same_data():
    first, *others = [first_batch(model) for model in MODELS]
    assert others
    assert all(equal(first, other) for other in others)


def first_batch(model: str) -> Batch:
    cfg = compose(f"model={model}", "lag=20")
    task = make_task(cfg)
    make_network(cfg, task)
    return next(iter(TrainStream(Fixed(task), Seeds(cfg.seed), cfg.batch_size)))


def fixed(split: str, sequences: int, seed: int = 0) -> list[Batch]:
    return list(fixed_batches(TASK, split, Seeds(seed), sequences))
