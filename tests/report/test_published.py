"""Published figures: what agrees, what a run that came to nothing is, and what the presets say about themselves."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.command import compose
from helpers.made_up import failed, run
from helpers.places import ROOT
from longlag import records
from longlag.instantiate import TASK, build
from longlag.records.identity import identity
from longlag.report import compact, published
from longlag.report.published import AGREES, BETTER, DIFFERS, FAILED, NOT_RUN, Published, judge
from longlag.settings import check, plain
from longlag.sweeps import published_runs

KEPT = ROOT / "docs" / "results" / "published"
NAMES = sorted(path.stem for path in published_runs.PRESETS.glob("*.yaml"))
STATED = {
    "source": "Somebody 1999, Table 1",
    "figure": "sequences_to_solve",
    "value": 1000,
    "tolerance": 1.25,
    "better": "lower",
    "protocol": "Everything is different.",
    "reason": None,
    "minutes": 2,
    "size": "small",
}
WITHOUT_MEMORY = {  # REFERENCES: K ln 8 / (T + 2 K), and the variance of the sum of two uniform values
    "arjovsky_copy_t1000": 10 * math.log(8) / 1020,
    "bai_copy_t1000_lstm": 10 * math.log(8) / 1020,
    "bai_copy_t1000_gru": 10 * math.log(8) / 1020,
    "bai_copy_t1000_rnn": 10 * math.log(8) / 1020,
    "bai_adding_t600_lstm": 1 / 6,
    "bai_adding_t600_rnn": 1 / 6,
}


@pytest.fixture(scope="module")
def known() -> dict[str, published_runs.Preset]:
    return published_runs.presets()


def stated(**changes: object) -> Published:
    return Published.of(STATED | changes)


def solved_after(sequences: int | None) -> records.Record:
    cost = {"parameters": 1, "seconds": 1.0, "steps": 50}
    return run(steps=sequences, batch_size=25) | {"sequences_to_solve": sequences, "cost": cost}


@pytest.mark.parametrize(
    ("better", "measured", "verdict"),
    [
        ("lower", 1000, AGREES), ("lower", 1250, AGREES), ("lower", 800, AGREES),
        ("lower", 1251, DIFFERS), ("lower", 799, BETTER), ("lower", None, DIFFERS),
        ("higher", 1250, AGREES), ("higher", 1251, BETTER), ("higher", 799, DIFFERS), ("higher", None, DIFFERS),
        (None, 1250, AGREES), (None, 800, AGREES), (None, 1251, DIFFERS), (None, 799, DIFFERS), (None, None, DIFFERS),
    ],
)  # fmt: skip
def test_verdict(better: str | None, measured: float | None, verdict: str):
    assert stated(better=better).verdict(measured) == verdict
    judgement = judge("a", stated(better=better), solved_after(measured))
    assert (judgement.verdict, judgement.measured) == (verdict, measured)


def test_a_figure_of_the_test():
    judgement = judge("a", stated(figure="test.loss", value=0.49, tolerance=1.05, better=None), run())
    assert (judgement.verdict, judgement.measured) == (AGREES, 0.5)


def test_a_figure_that_is_none():
    with pytest.raises(ValueError, match=r"published\.figure=test\.los: a record of copy has no such key"):
        judge("a", stated(figure="test.los"), run())


def test_what_was_not_solved_differs_and_says_what_was_spent():
    judgement = judge("a", stated(), solved_after(None))
    assert judgement.note == "not solved in 1,250 sequences"
    assert not judgement.settled
    known = judge("a", stated(reason="It is hard."), solved_after(None))
    assert known.settled
    (words,) = published.remarks([known])
    assert words == "Everything is different. Here: not solved in 1,250 sequences. It differs: It is hard."


def test_a_run_that_failed_is_no_verdict_on_the_paper():
    judgement = judge("a", stated(reason="It is hard."), failed() | {"error": "MemoryError: none"})
    assert (judgement.verdict, judgement.note, judgement.settled) == (FAILED, "failed: MemoryError: none", False)
    stopped = judge("a", stated(), failed() | {"status": "interrupted", "error": "stopped from outside"})
    assert (stopped.verdict, stopped.settled) == (FAILED, False)


def test_a_run_that_diverged_is_one():
    judgement = judge("a", stated(), failed() | {"status": "diverged", "error": "Diverged: the loss is nan"})
    assert (judgement.verdict, judgement.note) == (DIFFERS, "diverged: Diverged: the loss is nan")


def test_what_was_not_run_is_shown_with_its_cost():
    judgement = judge("a", stated(minutes=120, size="large"), None)
    assert (judgement.verdict, judgement.settled) == (NOT_RUN, False)
    assert "| not run (2.0 h) |" in published.markdown([judgement])


def test_the_table_shows_the_published_figure_beside_ours():
    text = published.markdown([judge("a", stated(), solved_after(500)), judge("b", stated(), solved_after(1500))])
    assert "| `a` | Somebody 1999, Table 1 | sequences_to_solve | 1,000 | up to 1,250 | 500 | 0.5 | better |" in text
    assert "| `b` | Somebody 1999, Table 1 | sequences_to_solve | 1,000 | up to 1,250 | 1,500 | 1.5 | differs |" in text
    assert "- `b`: Everything is different. It differs: nobody has found out why.\n" in text


def test_what_is_said_of_several_presets_is_said_once():
    words = published.remarks([judge("a", stated(), solved_after(500)), judge("b", stated(), solved_after(600))])
    assert words == {"Everything is different.": ["a", "b"]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"value": 0}, "value must be a number above 0, got 0"),
        ({"value": "31k"}, "value must be a number above 0, got 31k"),
        ({"tolerance": 1}, "tolerance must be a number above 1, got 1"),
        ({"better": "larger"}, "better must be lower, higher or null, got larger"),
        ({"size": "huge"}, "size must be small or large, got huge"),
        ({"source": ""}, "source must be a text"),
        ({"reason": ""}, "reason must be a text or null"),
    ],
)
def test_a_figure_that_is_not_stated_as_it_should_be(change: dict, said: str):
    with pytest.raises(ValueError, match=said):
        stated(**change)


def test_a_figure_without_its_source():
    with pytest.raises(ValueError, match=r"missing or unknown: source$"):
        Published.of({name: value for name, value in STATED.items() if name != "source"})
    with pytest.raises(ValueError, match=r"missing or unknown: sorce$"):
        stated(sorce="a typing error")
    with pytest.raises(ValueError, match="published must have exactly the keys source, figure"):
        Published.of(None)


@pytest.mark.parametrize("name", NAMES)
def test_preset(name: str):
    """It composes, its settings are accepted, and its run's record will have the figure it is held against."""
    cfg = compose(f"experiment=published/{name}")
    check(cfg)
    given = Published.of(plain(cfg)["published"])
    task = build(cfg.task, TASK)
    first, _, rest = given.figure.partition(".")
    assert first in records.new(plain(cfg), "model", "task")
    assert not rest or rest in {*task.measures, *task.baselines}


@pytest.mark.parametrize(("name", "line"), WITHOUT_MEMORY.items())
def test_line_without_memory(name: str, line: float):
    cfg = compose(f"experiment=published/{name}")
    given = Published.of(plain(cfg)["published"])
    assert given.verdict(line) == AGREES
    baselines = build(cfg.task, TASK).baselines
    assert baselines["memoryless_" + given.figure.removeprefix("test.").removeprefix("memoryless_")] == line


def test_presets_are_runs_of_their_own(known: dict[str, published_runs.Preset]):
    """Two of one configuration would share a folder when they go on."""
    assert list(known) == NAMES
    assert len({preset.begun_hash for preset in known.values()}) == len(known)


def test_without_names_the_small_ones_are_chosen(known: dict[str, published_runs.Preset]):
    small = published_runs.chosen([], known, large=False)
    assert {known[name].published.size for name in small} == {"small"}
    assert sum(known[name].published.minutes for name in small) <= 20
    assert sorted(published_runs.chosen([], known, large=True)) == NAMES
    assert published_runs.chosen(["tallec_copy_t500", "tallec_copy_t500"], known, large=False) == ["tallec_copy_t500"]


def test_the_page_is_of_the_records_kept(known: dict[str, published_runs.Preset]):
    judged = [judge(name, known[name].published, _kept(name)) for name in NAMES]
    assert published.markdown(judged) in (ROOT / "docs" / "published.md").read_text(encoding="utf-8")
    assert {path.name for path in KEPT.glob("*")} <= set(NAMES)


@pytest.mark.parametrize("name", sorted(path.name for path in KEPT.glob("*")))
def test_the_records_kept_are_of_the_presets_as_they_stand(name: str):
    """A setting that came later is no difference, and neither is the version of the streams."""
    preset = plain(compose(f"experiment=published/{name}"))
    assert identity(preset, without=["stream"]) == identity(_kept(name)["config"], without=["stream"])


def _kept(name: str) -> records.Record | None:
    return records.read(KEPT / name) if (KEPT / name).exists() else None


def test_a_small_copy_tells_the_same(tmp_path: Path):
    record = run() | {"sequences_to_solve": 6400}
    compact.keep(record, tmp_path / "a")
    copy = records.read(tmp_path / "a")
    assert judge("a", stated(), copy) == judge("a", stated(), record)


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "verify.py"), *arguments],
        cwd=folder, env=os.environ | {"PYTHONWARNINGS": "error"}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_command_that_is_not_understood_leaves_nothing(tmp_path: Path):
    done = command(tmp_path, "hochreiter_2d")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("longlag: hochreiter_2d: there is no such preset; there are arjovsky_copy_t1000, ")
    assert done.stderr.count("\n") == 1
    done = command(tmp_path, "--resume", "nowhere")
    assert (done.returncode, done.stderr) == (1, "longlag: nowhere holds no sweep: there is nothing to go on with\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_command(tmp_path: Path):
    name = "arjovsky_copy_t1000"
    before = (ROOT / "docs" / "published.md").read_bytes()
    done = command(tmp_path, name, "--to", "kept")
    assert done.returncode == 0, done.stderr
    assert f"│ {name} │ Arjovsky" in done.stdout
    assert "│ agrees  │" in done.stdout
    assert records.read(tmp_path / "kept" / name)["status"] == "finished"
    assert (ROOT / "docs" / "published.md").read_bytes() == before
    (folder,) = (tmp_path / "outputs").iterdir()
    again = command(tmp_path, "--resume", str(folder), "--to", "again")
    assert again.returncode == 0, again.stderr
    assert "1 of 1 runs have ended already" in again.stderr
    assert again.stdout == done.stdout
    shown = command(tmp_path, "--kept", "--to", "kept", name)
    assert (shown.returncode, shown.stdout) == (0, done.stdout)


@pytest.mark.slow
def test_a_run_that_fails_fails_the_command(tmp_path: Path):
    (tmp_path / "outputs").write_text("where the folder should be")
    done = command(tmp_path, "arjovsky_copy_t1000", "--to", "kept")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "kept").exists()
