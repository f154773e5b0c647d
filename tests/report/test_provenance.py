"""Where the settings come from, and whether the size was matched: a column where there is something to say."""

from typing import Any

import pytest

from helpers.made_up import CONFIG, failed, run
from longlag.records import Record
from longlag.report import summary, table

HOW = {"file": "copy", "lag": 100, "learned": True, "at_edge": {}}
TUNED = {"tuned": "copy", "tuning": HOW}
AT_EDGE = {"tuned": "copy", "tuning": HOW | {"at_edge": {"lr": "largest", "batch_size": "smallest"}}}
LOST = {"tuning": HOW | {"learned": False}}
CORE = {"budget": CONFIG["budget"] | {"core_parameters": 16_000}}
WHOLE = {"budget": CONFIG["budget"] | {"parameters": 50_000}}


def column(*runs: Record) -> list[str | None]:
    return [row["settings, size"] for row in table.rows(runs)]


def test_nothing_is_said_where_there_is_nothing_to_say():
    assert column(run("gru"), run("lstm")) == [None, None]
    assert "settings, size" not in [str(one.header) for one in table.terminal(table.rows([run()])).columns]


@pytest.mark.parametrize(
    ("settings", "said", "beside"),
    [
        (TUNED, "tuned=copy", "own"),
        ({"tuned": "copy"}, "tuned=copy", "own"),  # an older record
        (AT_EDGE, "tuned=copy (largest lr tried, smallest batch_size tried)", "own"),
        (LOST, "untuned: nothing learned", "own"),
        (CORE, "core matched to 16,000", "not matched"),
        (WHOLE, "matched to 50,000", "not matched"),
        (TUNED | CORE, "tuned=copy, core matched to 16,000", "own, not matched"),
    ],
)
def test_what_is_said(settings: dict[str, Any], said: str, beside: str):
    assert column(run("gru", **settings), run("lstm")) == [said, beside]
    assert ("settings, size", said) in summary.rows(failed(model="gru", **settings))


def test_a_run_whose_tuning_learned_nothing_is_the_run_that_it_would_be_without():
    (words,) = column(run("gru", seed=0, **LOST), run("gru", seed=1))
    assert words == "untuned: nothing learned"


def test_an_initialisation_that_knows_the_lag_is_marked():
    def of(init: str, t_max: float, **settings: Any) -> Record:
        made = run("lstm", lag=100, **settings)
        return made | {"config": made["config"] | {"model": {"init": init, "t_max": t_max}}}

    assert column(of("chrono", 150.0), of("chrono_agnostic", 150.0)) == ["knows the lag: chrono up to 1.5 lags", None]
    assert column(of("chrono", 750)) == ["knows the lag: chrono up to 7.5 lags"]
    assert column(of("chrono", 150, **TUNED)) == ["tuned=copy, knows the lag: chrono up to 1.5 lags"]
