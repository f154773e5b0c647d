"""The numbers of the README and of docs/usage.md are those of the records that stand beside them."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import mean

import pytest

from helpers.places import ROOT

sys.path.append(str(ROOT / "tools"))
import configuration
import readme

README = (ROOT / "README.md").read_text(encoding="utf-8")
USAGE = (ROOT / "docs" / "usage.md").read_text(encoding="utf-8")
RESULTS = ROOT / "docs" / "results"


def check(root: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, str(root / "tools" / "readme.py"), "--check"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_headline():
    done = check(ROOT)
    assert done.returncode == 0, done.stderr
    assert "| `lstm` |" in README


def test_a_headline_that_disagrees_is_noticed(tmp_path: Path):
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    pages = [*{block.page for block in readme.BLOCKS.values()}, "docs/performance.svg"]
    for name in pages:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text(encoding="utf-8"), encoding="utf-8")
    for name in ("results", "benchmarks"):
        (tmp_path / "docs" / name).symlink_to(ROOT / "docs" / name)
    (tmp_path / "conf").symlink_to(ROOT / "conf")
    assert check(tmp_path).returncode == 0
    (tmp_path / "README.md").write_text(re.sub(r"(\| `lstm` \| )\d", r"\g<1>7", README), encoding="utf-8")
    done = check(tmp_path)
    assert done.returncode == 1
    assert done.stderr == "longlag: README.md disagrees with docs/results/gap; run python tools/readme.py\n"
    (tmp_path / "README.md").write_text(README, encoding="utf-8")
    (tmp_path / "docs" / "usage.md").write_text(USAGE.replace("| 642 |", "| 643 |"), encoding="utf-8")
    assert "docs/usage.md disagrees with docs/results/horizon" in check(tmp_path).stderr
    (tmp_path / "docs" / "usage.md").write_text(USAGE, encoding="utf-8")
    chart = tmp_path / "docs" / "performance.svg"
    chart.write_text(chart.read_text(encoding="utf-8").replace("LSTM", "LSTN"), encoding="utf-8")
    assert "docs/performance.svg disagrees with docs/benchmarks/cells.json" in check(tmp_path).stderr


@pytest.mark.parametrize("name", [*configuration.WRITERS, "gap", "horizon", "why"])
def test_a_block_is_what_its_source_says(name: str):
    page, source, write = readme.BLOCKS[name]
    text = (ROOT / page).read_text(encoding="utf-8")
    assert readme.rewritten(text, name, source, write()) == text


def test_the_limits_of_the_headline_are_the_records():
    """What the README says of `rnn` at lag 300 and of `lstm_stock` from lag 30 on."""
    records = [json.loads(path.read_text()) for path in (RESULTS / "gap").glob("*/record.json")]
    rnn = [record for record in records if (record["model"], record["lag"]) == ("rnn", 300)]
    ends = [[record["gradient_scalars"][end]["log10_over_lag"] for record in rnn] for end in (0, -1)]
    (accuracy, before, after) = re.search(r"scores (\.\d+), above.*10\^(-\d+) .*10\^(-\d+) after", README).groups()
    assert float(accuracy) == pytest.approx(mean(record["test"]["accuracy"] for record in rnn), abs=5e-3)
    assert [float(before), float(after)] == pytest.approx([mean(ends[0]), mean(ends[1])], abs=0.5)
    stock = [record for record in records if record["model"] == "lstm_stock" and record["lag"] >= 30]
    assert all(abs(record["test"]["accuracy"] - 1 / 8) < 0.05 for record in stock)
    assert {record["config"]["max_steps"] for record in records} == {1000}


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
    said = {"lstm": r"after ([\d,]+)\s+steps \(it\s+recalls\s+(\.\d+)", "gru": r"GRU after ([\d,]+) \((\.\d+)\)"}[model]
    ((steps, accuracy),) = re.findall(said, USAGE)
    assert int(steps.replace(",", "")) == record["steps_to_solve"]
    assert float(accuracy) == pytest.approx(record["test"]["accuracy"], abs=5e-4)


def test_ten_thousand_steps():
    (path,) = (RESULTS / "ten_thousand").rglob("record.json")
    record = json.loads(path.read_text())
    assert (record["lag"], record["solved"], record["test"]["accuracy"]) == (10_000, True, 1.0)
    assert f"solved after {record['steps_to_solve']} steps, in eight\nminutes" in USAGE
    assert round(record["seconds_to_solve"] / 60) == 8
