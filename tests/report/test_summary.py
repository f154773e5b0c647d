"""The summary of a run: the score with chance beside it, and a table for every way a run can end."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from helpers.made_up import CONFIG
from longlag import records
from longlag.report.summary import lag_table, show, table

COST = {"parameters": 21_896, "core_parameters": 21_376, "steps": 500, "seconds": 81.4}
TEST = {"accuracy": 0.987, "loss": 0.0412, "chance": 0.125, "memoryless_loss": 2.0794, "sequences": 256}
CURVE = [{"lag": lag, "accuracy": 0.987, "loss": 0.0412, "chance": 0.125, "sequences": 256} for lag in (50, 100, 200)]
GRADIENT = [
    {"step": step, "distance": distance, "log10_norm": norm}
    for step, distance, norm in [(0, 0, -1.0), (0, 100, -3.5), (500, 0, -1.0), (500, 100, None)]
]
SOLVED = {"solved": True, "steps_to_solve": 450, "sequences_to_solve": 14_400, "seconds_to_solve": 73.2}
MEASURED = {"cost": COST, "test": TEST, "lag_curve": CURVE, "gradient": GRADIENT}


def record(**outcome: object) -> records.Record:
    config = {"lag": 100, "seed": 0, "task": {"solved_at": 0.99}, **CONFIG}
    return records.new(config, "lstm", "copy") | {"status": "finished"} | outcome


def console() -> Console:
    return Console(file=StringIO(), width=100)


def shown(renderable: RenderableType) -> str:
    screen = console()
    screen.print(renderable)
    return screen.file.getvalue()


def line_with(text: str, lines: str) -> str:
    (line,) = [line for line in lines.splitlines() if text in line]
    return line


def test_chance_stands_beside_the_score():
    lines = shown(table(record(**MEASURED, **SOLVED)))
    assert "lstm · copy · lag 100 · seed 0" in lines
    assert "0.987   (chance 0.125)" in line_with("test accuracy", lines)
    assert "0.0412   (memoryless baseline 2.0794)" in line_with("test loss", lines)
    assert "solved at step 450 (14,400 sequences, 73 s)" in line_with("status", lines)
    assert "500 steps, 81 s, 21,896 parameters" in line_with("cost", lines)


def test_gradient_over_the_lag_and_one_below_resolution():
    lines = shown(table(record(**MEASURED)))
    assert "10^-2.5 of what it is at distance 0" in line_with("step 0 ", lines)
    assert line_with("step 500", lines).split()[-2] == "0"


def validated(*accuracies: float) -> list[dict[str, float]]:
    return [{"step": 50 * at, "accuracy": accuracy, "loss": 1.0} for at, accuracy in enumerate(accuracies, 1)]


@pytest.mark.parametrize(
    ("accuracies", "ended_by", "said"),
    [
        (
            [0.2, 0.43, 0.4],
            "steps",
            "the best validation accuracy was 0.430, at step 100, below 0.99; raise max_steps=1000",
        ),
        (
            [1.0, 0.98, 0.5],
            "steps",
            "validation accuracy 1.000 at step 50, but not at the next validation; "
            "0.99 must hold at two consecutive ones; "
            "raise max_steps=1000",
        ),
        (
            [0.3, 1.0],
            "sequences",
            "validation accuracy 1.000 at step 100, the last validation; 0.99 must hold at two consecutive ones; "
            "raise budget.sequences=3200",
        ),
        (
            [1.0],
            "seconds",
            "validation accuracy 1.000 at step 50, the only validation; 0.99 must hold at two consecutive ones; "
            "raise budget.seconds=60, or lower validation.every=50",
        ),
        ([], "steps", "it was never validated; raise max_steps=1000, or lower validation.every=50"),
        (
            [0.1, 0.2],
            "no progress",
            "the best validation accuracy was 0.200, at step 100, below 0.99; it ended early because it made "
            "no progress (budget.no_progress_at=0.5): raise that value, or try another lr",
        ),
    ],
)
def test_why_it_was_not_solved_and_what_to_raise(accuracies: list[float], ended_by: str, said: str):
    run = record(**MEASURED, learning_curve=validated(*accuracies), ended_by=ended_by)
    run["config"] |= {"max_steps": 1000, "validation": {"every": 50}}
    run["config"]["budget"] = {"sequences": 3200, "seconds": 60, "no_progress_at": 0.5}
    screen = Console(file=StringIO(), width=300)
    screen.print(table(run))
    assert f"not solved: {said} " in line_with("status", screen.file.getvalue())


def test_finished_where_nothing_counts_as_solved():
    config = {"lag": 64, "seed": 0, "trainer": {}, "task": {"solved_at": None}, "budget": {}}
    lines = shown(table(record(**MEASURED) | {"config": config}))
    assert "finished" in line_with("status", lines)
    assert "solved" not in lines


def test_the_other_figures_of_a_task():
    positions = {"accuracy_by_position": [1.0, 0.98, 0.7]}
    assert "1.00 0.98 0.70   (lowest at position 3)" in line_with(
        "accuracy by position", shown(table(record(test=TEST | positions)))
    )
    assert "1.234 bits per character" in shown(table(record(test=TEST | {"bits_per_character": 1.234})))


def test_generated_text_is_shown_as_it_is(tmp_path):
    screen = console()
    sample = {"kind": "text", "title": "Generated text", "about": "", "text": "The [bold]king\nof Israel"}
    show(record(**MEASURED, example={"sample": sample}), tmp_path, screen)
    assert "The [bold]king" in screen.file.getvalue()
    assert "of Israel" in screen.file.getvalue()


def test_the_kernels_that_ran_are_named():
    lines = shown(table(record(cost=COST, environment={"kernels": "native"}, **SOLVED)))
    assert "500 steps, 81 s, native kernels, 21,896 parameters" in line_with("cost", lines)


@pytest.mark.parametrize("cost", [{}, COST])
@pytest.mark.parametrize("status", ["failed", "diverged", "interrupted"])
def test_run_that_ended_early(status, cost):
    screen = console()
    show(record(status=status, error="ValueError: no", cost=cost), Path("outputs/run"), screen)
    lines = screen.file.getvalue()
    assert f"{status}: ValueError: no" in line_with("status", lines)
    assert "accuracy" not in lines
    assert "record.json" in lines
    assert ".png" not in lines


@pytest.mark.parametrize("error", ["RuntimeError: expected [batch, time]", "OSError: cannot open [/data]"])
def test_error_is_shown_as_it_is(error):
    assert error in shown(table(record(status="failed", error=error)))


def test_everything_is_shown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "outputs" / "run"
    folder.mkdir(parents=True)
    (folder / "lag_curve.png").touch()
    screen = console()
    show(record(**MEASURED, **SOLVED), folder, screen)
    lines = screen.file.getvalue()
    assert "chance 0.125" in lines
    assert "accuracy against lag" in lines
    assert "outputs/run/lag_curve.png" in lines
    assert "forecasts.png" not in lines
    assert "outputs/run/record.json" in lines


def test_lag_table_has_a_row_for_each_lag():
    lines = shown(lag_table(CURVE))
    for lag in (50, 100, 200):
        assert line_with(f" {lag} ", lines).replace("│", " ").split() == [str(lag), "0.987", "0.125", "0.0412", "256"]


def test_without_a_test_the_validation_speaks():
    curve = [{"step": 50, "accuracy": 0.5, "loss": 1.0}, {"step": 100, "accuracy": 0.75, "loss": 0.5}]
    lines = shown(table(record(cost=COST, learning_curve=curve, **SOLVED)))
    assert "0.750   (no test)" in line_with("validation accuracy", lines)
    assert "test accuracy" not in lines
