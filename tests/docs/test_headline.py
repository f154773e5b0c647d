"""The README's figures are those of the records that stand beside it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.places import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = ROOT / "docs" / "results"


def check(root: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, str(root / "tools" / "readme.py"), "--check"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_headline():
    done = check(ROOT)
    assert done.returncode == 0, done.stderr
    assert "| `lstm` |" in README


def test_a_headline_that_disagrees_is_noticed(tmp_path: Path):
    copied = ["README.md", *(path for name in ("tools/*.py", "docs/*.md", "docs/*.svg") for path in ROOT.glob(name))]
    for name in (str(Path(path).relative_to(ROOT) if Path(path).is_absolute() else path) for path in copied):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text(encoding="utf-8"), encoding="utf-8")
    for name in ("results", "benchmarks"):
        (tmp_path / "docs" / name).symlink_to(ROOT / "docs" / name)
    assert check(tmp_path).returncode == 0
    (tmp_path / "README.md").write_text(re.sub(r"(\| `lstm` \| )\d", r"\g<1>7", README), encoding="utf-8")
    done = check(tmp_path)
    assert done.returncode == 1
    assert done.stderr == "longlag: README.md disagrees with docs/results/gap; run python tools/readme.py\n"
    (tmp_path / "README.md").write_text(README, encoding="utf-8")
    chart = tmp_path / "docs" / "performance.svg"
    chart.write_text(chart.read_text(encoding="utf-8").replace("LSTM", "LSTN"), encoding="utf-8")
    assert "docs/performance.svg disagrees with docs/benchmarks/cells.json" in check(tmp_path).stderr


def test_the_gap_has_enough_seeds():
    records = [json.loads(path.read_text()) for path in (RESULTS / "gap").glob("*/record.json")]
    assert {record["status"] for record in records} == {"finished"}
    runs = [(record["model"], record["lag"], record["seed"]) for record in records]
    assert len(set(runs)) == len(runs)
    cells = {(model, lag) for model, lag, _ in runs}
    assert len(cells) == 7 * 5
    for model, lag in cells:
        assert sum(run[:2] == (model, lag) for run in runs) >= (5 if lag <= 100 else 3)


@pytest.mark.parametrize("model", ["lstm", "gru"])
def test_ten_symbols(model: str):
    record = json.loads((RESULTS / "copy_ten_symbols" / f"{model}.json").read_text())
    said = {"lstm": r"after ([\d,]+) steps \(it\s+recalls\s+(\.\d+)", "gru": r"GRU after ([\d,]+) \((\.\d+)\)"}[model]
    ((steps, accuracy),) = re.findall(said, README)
    assert int(steps.replace(",", "")) == record["steps_to_solve"]
    assert float(accuracy) == pytest.approx(record["test"]["accuracy"], abs=5e-4)


def test_ten_thousand_steps():
    (path,) = (RESULTS / "ten_thousand").rglob("record.json")
    record = json.loads(path.read_text())
    assert (record["lag"], record["solved"], record["test"]["accuracy"]) == (10_000, True, 1.0)
    assert f"solved after {record['steps_to_solve']} steps, in eight minutes" in README
    assert round(record["seconds_to_solve"] / 60) == 8
