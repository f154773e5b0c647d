"""The search for a memory horizon: what it asks for, where it ends, and what it says it found."""

import math

import pytest

from longlag.sweeps.horizon import Search, Trial, in_words, markdown, trial


def search(solves, first_lag=4, max_lag=2048, seeds=3, resolution=1.1, **of_a_trial) -> Search:
    """A whole search, where `solves(lag, seed)` says what a trial comes to."""
    one = Search(first_lag, max_lag, seeds, resolution)
    while wanted := one.ask():
        for lag, seed in wanted:
            told = {"ended_by": "sequences", "short_of_time": False, "seconds": 1.0} | of_a_trial
            one.tell(Trial(lag, seed, solves(lag, seed), **told))
    return one


@pytest.mark.parametrize("edge", [4, 5, 7, 8, 20, 100, 333, 724, 1500, 2047])
@pytest.mark.parametrize("seeds", [1, 2, 3, 5])
def test_finds_a_sharp_edge(edge: int, seeds: int):
    found = search(lambda lag, _: lag <= edge, seeds=seeds).found
    value = found["memory_horizon"]
    assert value <= edge < found["high"]
    assert found["high"] <= max(value * 1.1, value + 1)
    assert (found["low"], found["censored_by"]) == (value, None)


def test_takes_few_trials():
    """Ten doublings at most and three halvings, two of three seeds each."""
    assert len(search(lambda lag, _: lag <= 1000).trials) <= 2 * 13


def test_everything_is_solved():
    found = search(lambda *_: True, max_lag=1000).found
    assert (found["memory_horizon"], found["high"], found["censored_by"]) == (1000, None, "max_lag")
    assert in_words(found) == "1000 or more (every trial solved its lag up to 1000; max_lag was reached)"


def test_nothing_is_solved():
    found = search(lambda *_: False).found
    assert (found["memory_horizon"], found["low"], found["high"]) == (None, None, 4)
    assert in_words(found) == "below 4 (no trial solved its lag from 4 on)"
    assert len(found["trials"]) == 2  # the third could not change it


@pytest.mark.parametrize(
    ("seeds", "solving", "holds"),
    [
        (1, 0, False),
        (1, 1, True),
        (2, 1, True),
        (2, 0, False),
        (3, 1, False),
        (3, 2, True),
        (4, 2, True),
        (5, 2, False),
    ],
)
def test_half_of_the_seeds(seeds: int, solving: int, holds: bool):
    """Whichever they are, and without those that could not change it."""
    for first in range(seeds):
        lucky = {(first + number) % seeds for number in range(solving)}
        one = search(lambda _, seed, lucky=lucky: seed in lucky, max_lag=4, seeds=seeds)
        assert one.holds(4) is holds
        assert len({t.seed for t in one.trials}) == len(one.trials) <= seeds


def test_the_interval_is_wide_where_seeds_differ():
    """Seed 0 solves up to 100, seeds 1 and 2 up to 30: the horizon is 30, but it may be 100."""
    found = search(lambda lag, seed: lag <= (100 if seed == 0 else 30)).found
    assert 27 <= found["memory_horizon"] <= 30
    assert found["low"] == found["memory_horizon"]
    assert found["high"] is None or found["high"] > 32  # at 32 one of three still solved it


def test_time_that_ran_out_is_said():
    found = search(lambda lag, _: lag <= 100, ended_by="seconds", short_of_time=True).found
    assert found["censored_by"] == "seconds"
    assert "or more" in in_words(found)
    assert "the budget of seconds ended" in in_words(found)


def test_goes_on_with_what_it_is_told():
    """Told the trials of a search that was stopped, it asks for the rest."""
    whole = search(lambda lag, _: lag <= 300)
    again = Search(4, 2048, 3, 1.1)
    for told in whole.trials[:9]:
        assert (told.lag, told.seed) in again.ask()
        again.tell(told)
    assert again.ask()


RECORD = {
    "lag": 64,
    "seed": 1,
    "status": "finished",
    "solved": False,
    "ended_by": "seconds",
    "config": {"budget": {"seconds": 60, "sequences": 16_000}},
    "cost": {"computing_seconds": 60.5, "sequences": 3_200},
}


def test_a_trial_of_a_record():
    assert trial(RECORD) == Trial(64, 1, False, "seconds", True, 60.5)
    assert not trial(RECORD | {"cost": {"computing_seconds": 20.0, "sequences": 16_000}}).short_of_time
    assert not trial(RECORD | {"solved": True}).short_of_time
    lost = trial(RECORD | {"status": "failed", "cost": {}})
    assert (lost.solved, lost.ended_by, lost.seconds) == (False, "failed", 0.0)
    unlimited = RECORD | {"config": {"budget": {"seconds": None, "sequences": None}}}
    assert not trial(unlimited).short_of_time


def test_the_resolution_is_a_factor():
    coarse, fine = (search(lambda lag, _: lag <= 1000, resolution=by).found for by in (2, 1.02))
    assert coarse["memory_horizon"] == 512
    assert math.isclose(fine["memory_horizon"], 1000, rel_tol=0.02)


def test_a_table_for_readers():
    one, other = (search(lambda lag, _, edge=edge: lag <= edge).found for edge in (30, 5000))
    lines = markdown(
        [
            {"model": "rnn", "overrides": ["task=copy", "model=rnn"], **one},
            {"model": "lstm", "overrides": ["task=copy", "lr=1", "model=lstm"], **other},
        ]
    ).splitlines()
    assert lines[2].startswith("| `lstm lr=1` | 2048 or more | 2048 | – |")
    assert lines[3].startswith("| `rnn` | 30 | 30 | 32 |")
