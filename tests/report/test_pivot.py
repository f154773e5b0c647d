"""Runs set against two sets of settings."""

import pytest
from rich.console import Console

from helpers.made_up import failed, run
from longlag.report import pivot


def with_(init: str, mode: str, seed: int, steps: int | None) -> dict:
    return run(seed=seed, steps=steps, lag_mode={"_target_": f"longlag.lag_modes.{mode}"}, init=init)


RUNS = [
    with_("torch", "Fixed", 0, None),
    with_("torch", "Fixed", 1, 100),
    with_("chrono", "Fixed", 0, 100),
    with_("chrono", "Uniform", 0, 100),
]


def test_places():
    table = pivot.pivot(RUNS, ["model", "init"], ["lag_mode"])
    assert table.columns == [("fixed",), ("uniform",)]
    assert table.rows == [(("lstm", "chrono"), ["1.00 (1/1)", "1.00 (1/1)"]), (("lstm", "torch"), ["0.60 (1/2)", ""])]
    assert pivot.markdown(table).splitlines() == [
        "| model | init | lag_mode fixed | lag_mode uniform |",
        "| --- | --- | --- | --- |",
        "| `lstm` | `chrono` | 1.00 (1/1) | 1.00 (1/1) |",
        "| `lstm` | `torch` | 0.60 (1/2) |  |",
    ]


def test_numbers_stand_by_their_size():
    lags = [run(lag=lag) for lag in (100, 20, 3)]
    assert pivot.pivot(lags, ["model"], ["lag"]).columns == [("3",), ("20",), ("100",)]


def test_in_a_terminal():
    console = Console(width=120, record=True)
    console.print(pivot.terminal(pivot.pivot(RUNS, ["init"], ["lag_mode", "lr"])))
    assert "lag_mode fixed, lr 0.01" in console.export_text()


def test_only_what_has_finished():
    table = pivot.pivot([*RUNS, failed(init="torch", lag_mode={"_target_": "a.Fixed"}, seed=9)], ["init"], ["lag_mode"])
    assert table.rows[1][1][0] == "0.60 (1/2)"
    with pytest.raises(ValueError, match="no run has finished"):
        pivot.pivot([failed()], ["model"], ["lag"])


def test_no_such_setting():
    with pytest.raises(ValueError, match=r"^model\.inti: the runs have no such setting$"):
        pivot.pivot(RUNS, ["model.inti"], ["lr"])


def test_runs_without_a_test_count_by_their_validation():
    untested = RUNS[0] | {"test": {}, "learning_curve": [{"step": 1, "accuracy": 0.25, "loss": 1.0}]}
    assert pivot.pivot([untested], ["model"], ["lr"]).rows == [(("lstm",), ["0.25 (0/1)"])]
