"""The search for a memory horizon: what a trial counts for, what it asks for, where it ends, what it says it found."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from helpers.places import ROOT
from longlag.sweeps.horizon import CENSORED, SOLVED, UNSOLVED, Search, Trial, again, read, trial
from longlag.sweeps.horizon_table import horizon, in_words, interval, markdown, names

ABOUT = {"model": "rnn", "task": "copy", "overrides": ["task=copy", "model=rnn"]}


def search(
    outcome: Callable[[int, int], str | bool], first_lag=4, max_lag=2048, trials=24, resolution=1.2, at_once=2
) -> Search:
    """A whole search, where `outcome(lag, seed)` says what a trial comes to."""
    one = Search(first_lag, max_lag, trials, resolution, at_once)
    while wanted := one.ask():
        for lag, seed in wanted:
            result = outcome(lag, seed)
            named = result if isinstance(result, str) else SOLVED if result else UNSOLVED
            one.tell(Trial(lag, seed, named, "seconds" if named == CENSORED else "sequences", 1.0))
    return one


@pytest.mark.parametrize("edge", [4, 5, 7, 20, 100, 333, 724, 1500, 2000])
@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_finds_a_sharp_edge(edge: int, at_once: int):
    """To 1%: no curve of the fit is as steep as that."""
    found = search(lambda lag, _: lag <= edge, at_once=at_once).found
    low, high = found["interval"]
    assert (low or 0) * 0.99 <= edge + 0.5 <= (high or math.inf)
    assert found["memory_horizon"] == pytest.approx(edge + 0.5, rel=0.25)
    assert len(found["trials"]) <= 24
    assert found["censored"] == 0


def test_each_trial_has_a_seed_of_its_own():
    seeds = [one.seed for one in search(lambda lag, _: lag <= 100).trials]
    assert seeds == list(range(len(seeds)))


@pytest.mark.parametrize("at_once", [1, 2, 6])
def test_trials_side_by_side(at_once: int):
    """After a first one, which shows that the task can be run at the smallest lag."""
    one = Search(4, 2048, 8, 1.2, at_once)
    assert one.ask() == [(4, 0)]
    one.tell(Trial(4, 0, SOLVED, "solved", 1.0))
    assert len(one.ask()) == at_once
    assert len({seed for _, seed in one.ask()}) == at_once
    for lag, seed in one.ask():
        one.tell(Trial(lag, seed, SOLVED, "solved", 1.0))
    assert len(one.ask()) == min(at_once, 7 - at_once)


def test_long_lags_wait_until_shorter_ones_are_solved():
    """A trial at lag 2048 costs as much as 200 at lag 10: a model that fails at 20 never gets there."""
    assert max(one.lag for one in search(lambda lag, _: lag <= 10).trials) <= 40
    assert max(one.lag for one in search(lambda *_: False).trials) <= 16


def test_everything_is_solved():
    found = search(lambda *_: True, max_lag=1000).found
    assert (found["memory_horizon"], found["interval"][1], found["at_least"]) == (None, None, True)
    assert found["interval"][0] >= 1000 / 1.2
    assert in_words(found).startswith(f"at least {found['interval'][0]} (95% interval {found['interval'][0]} or more;")
    assert "max_lag was reached" in in_words(found)


def test_a_range_as_narrow_as_the_resolution_is_tried_too():
    found = search(lambda *_: True, first_lag=4, max_lag=5).found
    assert found["interval"] == [5, None]
    assert 2 < len(found["trials"]) < 24


def test_nothing_is_solved():
    found = search(lambda *_: False).found
    assert (found["memory_horizon"], found["interval"], found["at_least"]) == (None, [None, 5], False)
    assert in_words(found) == "below 4 (95% interval 5 or less; nothing was solved; smallest not solved 4)"


def test_the_interval_is_wide_where_seeds_differ():
    """Between 10 and 100, every other seed solves its lag."""
    low, high = search(lambda lag, seed: lag <= 10 or (lag <= 100 and seed % 2 == 0)).found["interval"]
    assert high > 4 * (low or 4)


def test_lags_solved_now_and_then_are_said():
    """The grid of lstm_stock: 15 and 60 were solved by one seed of three, with a horizon of 11."""
    grid = json.loads((ROOT / "docs" / "benchmarks" / "horizon.json").read_text())["grid"]["runs"]
    one = Search(4, 64, len(grid), 1.2, 1)
    for run in grid:
        one.tell(Trial(run["lag"], run["seed"], SOLVED if run["solved"] else UNSOLVED, "sequences", 1.0))
    found = one.found
    assert found["interval"][0] < found["memory_horizon"] < found["interval"][1] < 15
    assert (found["largest_solved"], found["smallest_unsolved"]) == (60, 9)
    assert "largest lag solved 60" in in_words(found)


class TestCensored:
    """Trials that the limit of seconds ended: nobody knows what they would have come to."""

    def test_all_long_ones(self):
        """Everything is solved up to 500, and from there on too slow: the horizon may lie anywhere beyond."""
        found = search(lambda lag, _: True if lag < 500 else CENSORED).found
        assert (found["memory_horizon"], found["at_least"], found["interval"][1]) == (None, True, None)
        assert 300 < found["interval"][0] < 500
        assert horizon(found) == f"at least {found['interval'][0]}"
        assert f"{found['censored']} trials censored: budget.seconds" in in_words(found)

    def test_no_trial_goes_there_again(self):
        trials = search(lambda lag, _: True if lag < 500 else CENSORED, at_once=1).trials
        censored = [one.lag for one in trials if one.outcome == CENSORED]
        assert censored == sorted(censored, reverse=True)
        assert len(set(censored)) == len(censored)

    def test_the_interval_holds_whatever_they_would_have_come_to(self):
        told = [(8, SOLVED), (16, SOLVED), (32, SOLVED), (64, CENSORED), (48, CENSORED), (128, UNSOLVED)] * 2
        ends = {}
        for meant in (CENSORED, SOLVED, UNSOLVED):
            one = Search(4, 2048, 24, 1.2, 1)
            for seed, (lag, outcome) in enumerate(told):
                one.tell(Trial(lag, seed, meant if outcome == CENSORED else outcome, "seconds", 1.0))
            ends[meant] = one.found["interval"]
        assert ends[CENSORED] == [ends[UNSOLVED][0], ends[SOLVED][1]]

    def test_where_they_decide_nothing(self):
        """Far above the horizon they leave the estimate as it is."""
        one = search(lambda lag, _: lag <= 100)
        before = one.found
        one.tell(Trial(2048, 99, CENSORED, "seconds", 600.0))
        assert not one.found["at_least"]
        assert one.found["memory_horizon"] == pytest.approx(before["memory_horizon"], rel=0.05)

    def test_every_one(self):
        found = search(lambda *_: CENSORED).found
        assert horizon(found) == "not known"
        assert interval(found) == "any"


def test_goes_on_with_what_it_is_told():
    """Told the trials of a search that was stopped, it asks for the rest."""
    whole = search(lambda lag, _: lag <= 300)
    anew = Search(4, 2048, 24, 1.2, 2)
    for told in whole.trials[:9]:
        anew.tell(told)
    assert anew.ask() == [(told.lag, told.seed) for told in whole.trials[9:11]]


RECORD = {
    "lag": 64,
    "seed": 1,
    "status": "finished",
    "solved": False,
    "ended_by": "sequences",
    "config": {
        "max_steps": 1_000_000,
        "batch_size": 64,
        "budget": {"seconds": 60, "sequences": 16_000, "no_progress_at": 0.8},
    },
    "cost": {"computing_seconds": 20.0, "sequences": 16_000, "steps": 250},
}


def of_record(**of_the_run) -> Trial:
    return trial(RECORD | of_the_run)


def test_a_trial_of_a_record():
    assert of_record() == Trial(64, 1, UNSOLVED, "sequences", 20.0)
    assert of_record(solved=True, ended_by="solved").outcome == SOLVED
    assert of_record(status="diverged").outcome == UNSOLVED


def test_a_trial_that_reaches_its_limit_of_seconds_is_censored():
    cost = {"computing_seconds": 60.5, "sequences": 15_936, "steps": 249}
    assert of_record(ended_by="seconds", cost=cost).outcome == CENSORED


def test_a_trial_that_solves_beyond_its_limit_of_seconds_is_not_solved_within_it():
    """`gru` at lag 861 took 60.4 seconds of 60, and counted as solved."""
    cost = {"computing_seconds": 60.4, "sequences": 9_600, "steps": 150}
    assert of_record(solved=True, ended_by="solved", cost=cost).outcome == CENSORED
    unlimited = RECORD["config"] | {"budget": {"seconds": None, "sequences": None, "no_progress_at": None}}
    assert of_record(solved=True, ended_by="solved", cost=cost, config=unlimited).outcome == SOLVED


def test_no_progress_after_so_much_time_shows_nothing():
    """Four fifths of the seconds may be used before four fifths of the sequences."""
    assert of_record(ended_by="no progress", cost={"computing_seconds": 5.0, "steps": 200}).outcome == UNSOLVED
    assert of_record(ended_by="no progress", cost={"computing_seconds": 50.0, "steps": 199}).outcome == CENSORED


def test_a_run_that_failed_shows_nothing():
    lost = of_record(status="failed", ended_by=None, cost={})
    assert (lost.outcome, lost.ended_by, lost.seconds) == (CENSORED, "failed", 0.0)


def test_an_older_file_is_read():
    """That of the search by doubling and bisection, with 60 seconds a trial: the slow models reach at least so far."""
    found = {one["model"]: one for one in read(ROOT / "docs" / "results" / "horizon" / "horizon.json")}
    assert [name for name, one in found.items() if one["at_least"]] == ["lstm", "gru", "transformer"]
    late = [told for told in found["gru"]["trials"] if told["lag"] == 861]
    assert [(told["outcome"], told["ended_by"]) for told in late] == [(CENSORED, "solved")] * 2
    assert found["gru"]["largest_solved"] == 724
    assert found["lstm_stock"]["memory_horizon"] == 11
    said = markdown(list(found.values()))
    assert "| `gru` | at least" in said
    assert "It had 60\ncomputing seconds a trial" in said
    assert all(len(one["trials"]) == len(again(one).trials) for one in found.values())


def test_a_file_of_today_is_read(tmp_path: Path):
    kept = [ABOUT | search(lambda lag, _: lag <= 30).found]
    (tmp_path / "horizon.json").write_text(json.dumps(kept))
    assert read(tmp_path / "horizon.json") == kept


def test_a_table_for_readers():
    one, other = (search(lambda lag, _, edge=edge: lag <= edge).found for edge in (30, 5000))
    longer = {"model": "lstm", "overrides": ["task=copy", "lr=1", "model=lstm"], **other}
    lines = markdown([ABOUT | one, longer]).splitlines()
    assert lines[2].startswith("| `lstm lr=1` | at least ")
    assert lines[3].startswith(f"| `rnn` | {one['memory_horizon']} | {interval(one)} | 29 | 32 |")


def test_a_table_over_a_setting_is_ordered_by_it():
    found = [
        {"model": "rnn", "overrides": ["model=rnn", f"model.hidden_size={size}"], "over": {"model.hidden_size": size}}
        | search(lambda lag, _, size=size: lag <= size).found
        for size in (64, 8, 16)
    ]
    assert [line.split("`")[1] for line in markdown(found).splitlines()[2:]] == [
        f"rnn model.hidden_size={size}" for size in (8, 16, 64)
    ]
    assert names(found, without="model.hidden_size") == ["rnn"] * 3


# The horizon of a curve and its spread (see horizon_fit): from steep to shallow, at the edges and far from them
TRUE_CURVES = [
    *[(11, 0.05), (76, 0.15), (100, 0.3), (300, 0.2), (100, 0.6), (60, 1.0)],
    *[(4.3, 0.2), (5, 0.5), (3, 0.2), (1700, 0.15), (1800, 0.5), (2048, 0.1), (3000, 0.3)],
]


def covers(horizon: float, spread: float, random: np.random.Generator, affordable: float = math.inf) -> bool:
    """Whether the interval of a search among trials that follow the curve has its horizon in it.

    Trials are censored from a lag on that differs from one to the next, between half of `affordable` and half as much
    again: a solved trial among them says little of the others.
    """

    def outcome(lag: int, _: int) -> str | bool:
        if lag > affordable * random.uniform(0.5, 1.5):
            return CENSORED
        return random.random() < 1 / (1 + (lag / horizon) ** (1 / spread))

    found = search(outcome).found
    low, high = found["interval"]
    assert len(found["trials"]) <= 24
    return (low or 0) <= horizon <= (high or math.inf)


def coverage(searches: int, affordable: float = math.inf) -> list[float]:
    random = np.random.default_rng(0)
    return [sum(covers(*curve, random, affordable) for _ in range(searches)) / searches for curve in TRUE_CURVES]


def test_the_interval_covers_what_it_claims():
    """That of the search by doubling and bisection covered 84% of these horizons, 74% of those of shallow curves."""
    assert np.mean(coverage(20)) >= 0.93


@pytest.mark.slow
def test_the_interval_covers_every_curve():
    assert min(coverage(300)) >= 0.9


@pytest.mark.parametrize(
    ("shape", "horizon"),
    [
        (lambda lag: 0.8 / (1 + (lag / 100) ** 6), 100 * 0.6 ** (1 / 6)),  # a fifth of the runs solve nothing
        (lambda lag: 0.1 + 0.9 / (1 + (lag / 30) ** 4), 30 * 1.25**0.25),  # a tenth solve any lag
        (lambda lag: math.exp(-lag / 100), 100 * math.log(2)),
        (lambda lag: 1 - math.exp(-((100 / lag) ** 2)), 100 / math.log(2) ** 0.5),
    ],
)
def test_the_interval_covers_curves_of_other_shapes(shape: Callable[[int], float], horizon: float):
    random, covered = np.random.default_rng(0), 0
    for _ in range(60):
        low, high = search(lambda lag, _: random.random() < shape(lag)).found["interval"]
        covered += (low or 0) <= horizon <= (high or math.inf)
    assert covered >= 0.9 * 60


@pytest.mark.slow
def test_the_interval_covers_every_curve_where_trials_are_censored():
    assert min(coverage(100, affordable=100)) >= 0.9
