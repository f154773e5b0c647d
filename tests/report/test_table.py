"""The table of a set of runs: what shares a row, what stands in it, and its three forms."""

import csv
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from longlag import records
from longlag.report import table
from longlag.report.statistics import success_rate

ROOT = Path(__file__).parents[2]


def run(model: str = "lstm", seed: int = 0, lag: int = 100, steps: int | None = 200, **settings: object) -> dict:
    config = {"lag": lag, "seed": seed, "lr": 0.01, "task": {"solved_at": 0.99}, "model": {"hidden_size": 64}}
    config |= {"trainer": {"devices": 1}, "logger": {}, "runtime": {"threads": 1}} | settings
    accuracy = 0.2 if steps is None else 1.0
    return records.new(config, model, "copy") | {
        "status": "finished",
        "solved": steps is not None,
        "steps_to_solve": steps,
        "test": {"accuracy": accuracy, "loss": 0.5, "chance": 0.125},
        "lag_curve": [{"lag": lag, "accuracy": accuracy}, {"lag": 2 * lag, "accuracy": 0.1}],
        "gradient": [
            {"step": step, "distance": distance, "log10_norm": norm}
            for step, distance, norm in [(0, 0, -1.0), (0, lag, -3.5), (9, 0, -1.0), (9, lag, -1.0)]
        ],
        "cost": {"parameters": 4417, "seconds": 30.4},
    }


def test_seeds_share_a_row():
    (row,) = table.rows([run(seed=0, steps=100), run(seed=1, steps=300), run(seed=2, steps=None)])
    low, high = success_rate([run(), run(), run(steps=None)])[1:3]
    assert row["runs"] == "3"
    assert row["solved"] == f"0.67 [{low:.2f}, {high:.2f}]"
    assert row["steps to solve"] == "300"
    assert row["accuracy"].startswith("0.733 [")
    assert (row["chance"], row["loss"], row["parameters"], row["seconds"]) == ("0.125", "0.5000", "4417", "30")
    assert row["accuracy horizon"] == "100"
    assert row["log10 g(lag)/g(0)"] == "-2.5"
    assert row["differs in"] == row["not finished"] == ""


@pytest.mark.parametrize("settings", [{"runtime": {"threads": 8}}, {"trainer": {"devices": 2}}, {"logger": {"csv": 1}}])
def test_where_a_run_ran_makes_no_other_cell(settings):
    assert len(table.rows([run(seed=0), run(seed=1, **settings)])) == 1


def test_cells_are_told_apart_by_what_differs():
    runs = [run(lr=0.01), run(lr=0.1), run(model="gru"), run(lag=30)]
    rows = table.rows(runs)
    assert [(row["model"], row["lag"], row["differs in"]) for row in rows] == [
        ("gru", "100", ""), ("lstm", "30", ""), ("lstm", "100", "lr=0.01"), ("lstm", "100", "lr=0.1"),
    ]  # fmt: skip
    wide = run(seed=1) | {"config": run(seed=1)["config"] | {"model": {"hidden_size": 128}}}
    assert [row["differs in"] for row in table.rows([run(), wide])] == ["model.hidden_size=64", "model.hidden_size=128"]


def test_runs_that_did_not_finish_are_counted_and_not_measured():
    broken = run(seed=1) | {"status": "failed", "test": {}, "lag_curve": [], "gradient": [], "cost": {}}
    (row,) = table.rows([run(seed=0), broken])
    assert (row["runs"], row["not finished"], row["accuracy"]) == ("1", "1", "1.000")
    (row,) = table.rows([broken])
    assert (row["runs"], row["not finished"], row["accuracy"], row["solved"]) == ("0", "1", "", "")


def test_beyond_the_budget_and_below_resolution():
    lost = run(steps=None)
    lost["gradient"][1]["log10_norm"] = None
    (row,) = table.rows([lost])
    assert row["steps to solve"] == "beyond the budget"
    assert row["accuracy horizon"] == "0"
    assert row["log10 g(lag)/g(0)"] == ""


def test_nothing_is_said_of_solving_where_nothing_counts_as_solved():
    (row,) = table.rows([run(steps=None, task={"solved_at": None})])
    assert row["solved"] == row["steps to solve"] == ""


def test_forms():
    rows = table.rows([run(), run(model="a|b")])
    assert list(csv.DictReader(io.StringIO(table.comma_separated(rows)))) == rows
    header, rule, first, second = table.markdown(rows).splitlines()
    assert header == "| " + " | ".join(table.COLUMNS) + " |"
    assert set(rule) <= set("| -")
    assert "a\\|b" in first
    assert second.count("|") == header.count("|")
    screen = Console(file=io.StringIO(), width=200)
    screen.print(table.terminal(rows))
    assert "log10 g(lag)/g(0)" in screen.file.getvalue()
    assert "not finished" not in screen.file.getvalue()


def test_records_are_found_once(tmp_path):
    for name in ("sweep/0", "sweep/1"):
        (tmp_path / name).mkdir(parents=True)
        records.write(run(), tmp_path / name)
    assert len(table.find([tmp_path, tmp_path / "sweep", tmp_path / "sweep" / "0"])) == 2
    with pytest.raises(FileNotFoundError, match="holds no run"):
        table.find([tmp_path, tmp_path / "nothing"])


def test_command(tmp_path):
    records.write(run(), tmp_path)
    command = [sys.executable, str(ROOT / "scripts" / "table.py")]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}

    def call(*arguments: str) -> subprocess.CompletedProcess:
        settings = {"capture_output": True, "text": True, "env": environment, "cwd": tmp_path}
        return subprocess.run([*command, *arguments], check=False, **settings)

    done = call(str(tmp_path), "--csv", "-", "--markdown", "out.md")
    assert done.returncode == 0, done.stderr
    assert done.stdout == table.comma_separated(table.rows([run()]))
    assert (tmp_path / "out.md").read_text() == table.markdown(table.rows([run()]))
    refused = call("nothing")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == "longlag: nothing holds no run: there is no record.json below it\n"
