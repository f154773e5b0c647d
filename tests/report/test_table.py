"""The table of a set of runs: what stands in a row, its three forms, and the matrix of lags trained and tested at."""

import csv
import io
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from helpers.made_up import failed, run, untested
from helpers.places import ROOT
from longlag import records
from longlag.report import table
from longlag.report.statistics import FINITE_TEST, INTERVAL, RANGE, Estimate, success_rate, wilson
from longlag.report.table import Change


def csv_rows(rows: list[table.Row]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(table.comma_separated(rows))))


def shown(renderable: RenderableType) -> str:
    screen = Console(file=io.StringIO(), width=250)
    screen.print(renderable)
    return screen.file.getvalue()


def test_seeds_share_a_row():
    runs = [run(seed=0, steps=100), run(seed=1, steps=300), run(seed=2, steps=None)]
    (row,) = table.rows(runs)
    assert row["accuracy"] == (pytest.approx(2.2 / 3), pytest.approx(0.2), 1.0, 3, RANGE)
    assert row["solved"] == success_rate(runs)
    assert row["accuracy horizon"][0] == 100
    assert row["log10 g(lag)/g(0)"] == Change(-2.5, -1.0)
    assert row["decades per step"] == Change(pytest.approx(0.025), pytest.approx(0.01))
    assert row["gradient horizon"] == Change(100, 100)
    numbers = {"lag": 100, "runs": 3, "chance": 0.125, "loss": 0.5, "steps to solve": 300, "parameters": 4417}
    assert {column: row[column] for column in numbers} == numbers
    assert row["differs in"] is row["not finished"] is None


def test_row_as_people_read_it():
    (row,) = table.rows([run(seed=0, accuracy=0.5), run(seed=1, accuracy=0.5)])
    assert {column: table.text(row, column) for column in table.COLUMNS} == {
        "task": "copy",
        "model": "lstm",
        "lag": "100",
        "differs in": "",
        "settings, size": "",
        "runs": "2",
        "not finished": "",
        "accuracy": "0.500",
        "chance": "0.125",
        "loss": "0.5000",
        "solved": "2/2 [0.34, 1.00]",
        "still improving": "",
        "steps to solve": "200",
        "accuracy horizon": "0",
        "log10 g(lag)/g(0)": "-2.5 → -1.0",
        "decades per step": "0.025 → 0.01",
        "gradient horizon": "100 → 100",
        "parameters": "4417",
        "seconds": "30",
    }


def test_one_seed_has_the_interval_of_its_test():
    (row,) = table.rows([run()])
    assert row["accuracy"] == Estimate(1.0, *wilson(1.0, 256), 1, FINITE_TEST)
    assert table.text(row, "accuracy") == "1.000 [0.985, 1.000]"


def test_runs_that_did_not_finish_are_counted_and_not_measured():
    (row,) = table.rows([run(seed=0), failed(seed=1)])
    assert (row["runs"], row["not finished"], row["accuracy"].value, row["solved"].value) == (1, 1, 1.0, 1.0)
    (row,) = table.rows([failed(seed=0), failed(seed=1)])
    told = {column: value for column, value in row.items() if value is not None}
    assert told == {"task": "copy", "model": "lstm", "lag": 100, "runs": 0, "not finished": 2}


def test_beyond_the_budget():
    (row,) = rows = table.rows([run(steps=None)])
    assert row["steps to solve"] == math.inf
    assert row["accuracy horizon"].value == 0
    assert table.text(row, "steps to solve") == "beyond the budget"
    assert csv_rows(rows)[0]["steps to solve"] == "inf"


def test_gradient_below_resolution_in_one_seed_cannot_be_told():
    lost = run(seed=1)
    lost["gradient_scalars"][0]["log10_over_lag"] = None
    (row,) = rows = table.rows([run(seed=0), lost])
    assert row["log10 g(lag)/g(0)"] == Change(None, -1.0)
    assert table.text(row, "log10 g(lag)/g(0)") == "– → -1.0"
    (line,) = csv_rows(rows)
    assert (line["log10 g(lag)/g(0), before"], line["log10 g(lag)/g(0), after"]) == ("", "-1.0")
    lost["gradient_scalars"][1]["log10_over_lag"] = None
    assert table.text(table.rows([lost])[0], "log10 g(lag)/g(0)") == ""


def test_gradient_that_was_not_measured():
    (row,) = table.rows([run() | {"gradient_scalars": []}])
    assert [row[column] for column in table.CHANGES] == [None] * 3


def test_nothing_is_said_of_solving_where_nothing_counts_as_solved():
    (row,) = table.rows([run(steps=None, solved_at=None)])
    assert row["solved"] is row["steps to solve"] is None


def test_csv_is_plain_numbers_under_a_fixed_header():
    rows = table.rows([failed(model="gru"), run(seed=0, steps=100), run(seed=1, steps=None)])
    nothing, line = csv_rows(rows)
    words = ("task", "model", "accuracy, bounds", "solved, bounds", "accuracy horizon, bounds")
    assert (line["accuracy, bounds"], line["solved, bounds"]) == (RANGE, INTERVAL)
    assert list(nothing) == list(line) == list(csv_rows(table.rows([run()]))[0])
    assert {column for column, entry in nothing.items() if entry} == {"task", "model", "lag", "runs", "not finished"}
    numbers = {column: float(entry) for column, entry in line.items() if entry and column not in words}
    assert (numbers["accuracy"], numbers["accuracy, low"], numbers["accuracy, high"]) == pytest.approx((0.6, 0.2, 1))
    assert numbers["solved"] == 0.5
    no_range = {"accuracy horizon, low", "accuracy horizon, high"} - set(numbers)
    assert numbers["gradient horizon, before"] == numbers["gradient horizon, after"] == numbers["lag"] == 100
    assert numbers["steps to solve"] == math.inf
    assert (
        set(line) - set(numbers)
        == {*words, "differs in", "settings, size", "not finished", "still improving"} | no_range
    )


def test_markdown():
    header, rule, first, second, _, bounds = table.markdown(table.rows([run(), run(model="a|b")])).splitlines()
    assert bounds.startswith("[a, b]: 95% interval")
    assert header == "| " + " | ".join(table.COLUMNS) + " |"
    assert rule.count("---") == len(table.COLUMNS)
    assert first.startswith("| copy | a\\|b | 100 |")
    assert second.count("|") == header.count("|")


def test_terminal_leaves_out_what_no_row_has_and_shows_text_as_it_is():
    lines = shown(table.terminal(table.rows([run(), run(corpus="/data/[old]/b")])))
    assert "log10 g(lag)/g(0)" in lines
    assert "not finished" not in lines
    assert "corpus=/data/[old]/b" in lines


def test_matrix_has_accuracy_by_lag_trained_at_and_lag_tested_at():
    short = run(lag=10, seed=1, accuracy=0.6)
    short["lag_curve"] = short["lag_curve"][1:]
    runs = [run(lag=10, seed=0), short, run(lag=100), failed(lag=1000), run(model="gru", lag=10), failed(model="rnn")]
    found = table.matrix(runs)
    assert list(found) == [("copy", "gru"), ("copy", "lstm")]
    values = {lag: {at: each.value for at, each in row.items()} for lag, row in found["copy", "lstm"].items()}
    assert values == {10: {10: 0.8, 20: 0.1}, 100: {50: 1.0, 100: 1.0, 200: 0.1}}  # only one seed was tested at 5
    lines = shown(table.terminal_matrix("a[b] on copy", found["copy", "lstm"]))
    assert "a[b] on copy" in lines
    entries = [line.replace("┃", "│").split("│")[1:-1] for line in lines.splitlines() if line[0] in "┃│"]
    assert [[entry.strip() for entry in line] for line in entries] == [
        ["trained at", "10", "20", "50", "100", "200"],
        ["10", "0.80", "0.10", "", "", ""],
        ["100", "", "", "1.00", "1.00", "0.10"],
    ]


def call(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "scripts" / "table.py"), *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(command, check=False, capture_output=True, text=True, env=environment, cwd=folder)


def test_command(tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / records.FILE).write_text("{")
    records.write(run(), tmp_path)
    done = call(tmp_path, ".", "--csv", "-", "--markdown", "out.md", "--figure", "gap.svg")
    assert done.returncode == 0, done.stderr
    assert done.stdout == table.comma_separated(table.rows([run()]))
    assert done.stderr.startswith("left out: broken/record.json is not a record")
    assert (tmp_path / "out.md").read_text() == table.markdown(table.rows([run()]))
    assert (tmp_path / "gap.svg").read_text().rstrip().endswith("</svg>")
    with_matrix = call(tmp_path, ".", "--matrix")
    assert "lstm on copy: accuracy at each lag" in with_matrix.stdout


def test_command_refuses_in_one_line(tmp_path):
    refused = call(tmp_path, "nothing")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == "longlag: nothing holds no run: there is no record.json below it that can be read\n"
    records.write(failed(), tmp_path)
    refused = call(tmp_path, ".", "--figure", "gap.png")
    assert refused.returncode == 1
    assert refused.stderr == "longlag: there is nothing to draw: none of the runs finished\n"
    assert {path.name for path in tmp_path.iterdir()} == {records.FILE}


def test_by_lag():
    runs = [run(seed=seed, lag=lag) for lag in (30, 100) for seed in (0, 1)] + [run("rnn", steps=None), failed(lag=300)]
    assert table.by_lag(runs).splitlines() == [
        "| model | 30 | 100 | log10 g(100)/g(0) |",
        "| --- | --- | --- | --- |",
        "| `lstm` | 1.00 (2/2) | 1.00 (2/2) | -2.5 |",
        "| `rnn` |  | 0.20 (0/1) | -2.5 |",
    ]
    for others in ([], [failed()], [*runs, run(task="sine")]):
        with pytest.raises(ValueError, match="tested runs of exactly one task"):
            table.by_lag(others)


def test_points():
    rows = list(csv.DictReader(io.StringIO(table.points([run()]))))
    assert len(rows) == 3 * 3 + 6  # accuracy, loss and chance at three lags, the gradient at three distances, twice
    assert rows[0] == {
        "task": "copy", "model": "lstm", "settings": "", "lag": "100", "seed": "0", "curve": "lag_curve",
        "training step": "", "over": "lag", "at": "50", "measure": "accuracy", "value": "1.0",
    }  # fmt: skip
    assert (rows[-1]["training step"], rows[-1]["at"], rows[-1]["value"]) == ("9", "100", "-2.0")


def test_runs_without_a_test_have_no_accuracy():
    runs = [untested(seed=0, steps=100), untested(seed=1, steps=None), untested(lag=30)]
    few, many = table.rows(runs)
    assert (few["lag"], many["lag"]) == (30, 100)
    for column in ("accuracy", "chance", "loss", "accuracy horizon"):
        assert many[column] is None
        assert table.text(many, column) == ""
    assert many["solved"].value == 0.5
    assert many["log10 g(lag)/g(0)"] == Change(-2.5, -1.0)
    assert "accuracy" not in shown(table.terminal([few, many]))
    assert csv_rows([few, many])[0]["accuracy"] == ""
    assert table.matrix(runs) == {}
    with pytest.raises(ValueError, match="needs tested runs of exactly one task"):
        table.by_lag(runs)
    assert table.by_lag([*runs, run(task="copy", model="gru")]).count("\n") == 3


def test_runs_that_were_still_improving_are_marked():
    runs = [run("rnn", seed=seed, steps=None) | {"still_improving": seed == 0} for seed in range(2)]
    rows = table.rows([*runs, run()])
    assert [row["still improving"] for row in rows] == [None, "1 of 2"]
    marked = table.by_lag([*runs, run()])
    assert "| `rnn` | 0.20↗ (0/2) | -2.5 |" in marked
    assert "| `lstm` | 1.00 (1/1) | -2.5 |" in marked
    assert marked.endswith("\n\n↗: some of these runs were still improving when their budget was used up.\n")
    assert "still improving" not in shown(table.terminal(table.rows([run()])))
