"""Which runs are found, which of them make one group, and how a group is told from others."""

import pytest

from helpers.made_up import failed, run
from longlag import records
from longlag.report.groups import find, groups


def test_records_are_found_once(tmp_path):
    for seed in (0, 1):
        folder = tmp_path / "sweep" / str(seed)
        folder.mkdir(parents=True)
        records.write(run(seed=seed), folder)
    assert [one["seed"] for one in find([tmp_path, tmp_path / "sweep", tmp_path / "sweep" / ".." / "sweep"])] == [0, 1]


def test_a_run_that_is_there_twice_is_no_second_seed(tmp_path, caplog):
    for name, one in (("a", failed()), ("b", run()), ("c", run() | {"steps_to_solve": 1})):
        (tmp_path / name).mkdir()
        records.write(one, tmp_path / name)
    (kept,) = find([tmp_path])
    assert kept["status"] == "finished"
    a, b, c = (tmp_path / name for name in "abc")
    assert caplog.messages == [f"{left} is left out: it holds the same run as {at}" for left, at in ((a, b), (b, c))]


@pytest.mark.parametrize("content", ["{", "[]", '{"schema": 0}'])
def test_broken_record_is_left_out_with_a_warning(tmp_path, caplog, content):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / records.FILE).write_text(content)
    records.write(run(seed=7), tmp_path)
    assert [one["seed"] for one in find([tmp_path])] == [7]
    (warning,) = caplog.messages
    assert warning.startswith("left out: ")
    assert str(tmp_path / "broken" / records.FILE) in warning


def test_folder_without_a_run_is_refused(tmp_path):
    records.write(run(), tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / records.FILE).write_text("{")
    for folder in ("empty", "missing", "broken"):
        with pytest.raises(FileNotFoundError, match=f"{folder} holds no run"):
            find([tmp_path, tmp_path / folder])


def test_seeds_make_one_cell():
    (group,) = groups([run(seed=0), failed(seed=1), run(seed=2)])
    assert group[:4] == ("copy", "lstm", 100, "")
    assert [one["seed"] for one in group.runs] == [0, 1, 2]
    assert [one["seed"] for one in group.finished] == [0, 2]
    assert group.name == "lstm"


@pytest.mark.parametrize(
    "settings",
    [
        {"runtime": {"threads": 8}},
        {"trainer": {"devices": 2}},
        {"logger": {"csv": 1}},
        {"validation": {"every": 50.0, "sequences": 512}},
    ],
)
def test_where_a_run_ran_and_how_a_number_is_written_make_no_other_cell(settings):
    assert len(groups([run(seed=0), run(seed=1, **settings)])) == 1


def test_groups_come_by_task_model_and_lag():
    runs = [run(lag=30), run(model="gru"), run(lag=4), run(task="adding")]
    assert [group[:4] for group in groups(runs)] == [
        ("adding", "lstm", 100, ""), ("copy", "gru", 100, ""), ("copy", "lstm", 4, ""), ("copy", "lstm", 30, ""),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "ours", "theirs"),
    [
        ({"lr": 0.1}, "lr=0.01", "lr=0.1"),
        ({"validation": {"every": 100, "sequences": 512}}, "validation.every=50", "validation.every=100"),
        ({"trainer": {"precision": "64"}}, "trainer.precision=32-true", "trainer.precision=64-true"),
        ({"extra": {"knob": 1}}, "extra.knob=null", "extra.knob=1"),
    ],
)
def test_settings_are_those_that_differ(settings, ours, theirs):
    found = groups([run(), run(seed=1, **settings), run(lag=30), run(model="gru", lr=5.0)])
    assert [group.settings for group in found] == ["", ours, ours, theirs]
    assert found[3].name == f"lstm {theirs}"


def test_a_setting_has_one_name_at_every_lag():
    """And what only changes with the lag has none."""
    runs = [run(lag=10, lr=0.2), run(lag=30, lr=0.1), run(lag=30, lr=0.2), run(lag=100, lr=0.1, max_steps=9)]
    assert [(group.lag, group.settings) for group in groups(runs)] == [
        (10, "lr=0.2"), (30, "lr=0.1"), (30, "lr=0.2"), (100, "lr=0.1"),
    ]  # fmt: skip


def test_the_optimiser_repeats_nothing():
    optimisers = [{"lr": 0.01, "momentum": 0.9}, {"lr": 0.1, "momentum": 0.9}]
    found = groups([run(lr=one["lr"], optimizer=one) for one in optimisers])
    assert [group.settings for group in found] == ["lr=0.01", "lr=0.1"]
    found = groups([run(optimizer=one) for one in optimisers])
    assert [group.settings for group in found] == ["", "optimizer.lr=0.1"]


def test_solvable_is_what_has_a_score_to_reach():
    assert [group.solvable for group in groups([run(), run(task="text", solved_at=None)])] == [True, False]
