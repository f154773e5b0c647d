"""The seconds of a run are predicted from a few of its steps; the longest runs begin first."""

import itertools
import re
from pathlib import Path

import pytest

from helpers.command import compose
from helpers.fated import SWEEP, found, place, run
from longlag.sweeps import run_time


def test_runs_that_take_equally_long_have_one_key():
    one = run_time.key(compose("lag=10"))
    assert run_time.key(compose("lag=10", "seed=3", "lr=0.1", "logger=none")) == one
    for other in ("lag=20", "model=gru", "batch_size=16", "max_steps=20", "model.hidden_size=9", "task=adding"):
        assert run_time.key(compose("lag=10", other)) != one, other


def test_prediction_follows_the_settings(monkeypatch: pytest.MonkeyPatch):
    """With a clock by which every step takes two seconds."""
    clock = itertools.count(step=2)
    monkeypatch.setattr(run_time.time, "perf_counter", lambda: float(next(clock)))
    small = ("model.hidden_size=16", "max_steps=200", "batch_size=32", "eval.lags=[100]", "eval.sequences=96")
    small += ("validation.every=50", "validation.sequences=96", "lag=100")

    def predicted(*overrides: str) -> float:
        return run_time.predicted(compose(*small, *overrides))

    test = 2.0  # of 96 sequences: three batches, each a third of a step
    assert predicted() == pytest.approx(200 * 2 + 4 * 2 + test)
    assert predicted("max_steps=2000") == pytest.approx(2000 * 2 + 40 * 2 + test)
    assert predicted("budget.sequences=3200") == pytest.approx(100 * 2 + 2 * 2 + test)
    assert predicted("eval.sequences=0") == pytest.approx(200 * 2 + 4 * 2)
    assert predicted("budget.seconds=7") == pytest.approx(7 + test)
    assert predicted("eval.lags=[100,201]") == pytest.approx(200 * 2 + 4 * 2 + test + test * 202 / 101)


def test_few_steps_are_not_worth_it():
    assert not run_time.worthwhile(compose("max_steps=99"))
    assert not run_time.worthwhile(compose("max_steps=1000", "budget.sequences=320"))
    assert run_time.worthwhile(compose("max_steps=100"))


@pytest.mark.slow
def test_longest_first_with_the_sum_and_a_core_that_cannot_be_measured_stops_nothing(tmp_path: Path):
    folder = place(tmp_path, "exits")
    code, said = run(
        folder, *SWEEP, "model.fate=fine,exits", "lag=6,600", "max_steps=100", "validation.every=50", "eval.lags=null",
        "hydra/launcher=processes", "hydra.launcher.workers=1",
    )  # fmt: skip
    assert code == 1
    assert len(found(folder)) == 4
    assert "of computing at most" not in said  # a sum that leaves out some runs would be wrong
    assert said.count("its process died (exit code 3)") == 3  # two runs, and one line at the end

    code, said = run(
        folder, *SWEEP, "lag=6,600", "max_steps=100", "validation.every=50", "eval.lags=null", "hydra.sweep.dir=two",
        "hydra/launcher=processes", "hydra.launcher.workers=1",
    )  # fmt: skip
    assert code == 0, said
    assert re.search(r"these 2 runs take .* of computing at most, .* on 1 workers", said)
    assert said.index("1_fated_copy_lag600") < said.index("0_fated_copy_lag6_")
