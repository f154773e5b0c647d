"""The page about the LSTM: its links lead to the lines they name, and its figures are the records'."""

import json
import re

import pytest

from helpers.places import ROOT

DOCS = ROOT / "docs"
PAGE = (DOCS / "lstm.md").read_text(encoding="utf-8")
LINKS = re.findall(r"\[`(\w+)`\]\(([^)#]+)#L(\d+)\)", PAGE)


@pytest.mark.parametrize(("name", "path", "line"), LINKS)
def test_link_leads_to_the_definition(name, path, line):
    code = (DOCS / path).read_text(encoding="utf-8").splitlines()[int(line) - 1]
    assert re.match(rf"\s*(def|class) {name}\b", code), f"{path}#L{line} is: {code}"


def test_there_are_links():
    assert len(LINKS) >= 8


@pytest.mark.parametrize(
    ("run", "row"),
    [
        ("lstm", "| `lstm_oracle` | 10^{first:.1f} | 10^{last:+.1f} | {accuracy:.3f}, solved at step {solved} |"),
        ("lstm_stock", "| `lstm_stock` | 10^{first:.0f} | an exact 0, after {step} steps | "),
        ("lstm_1997", "| `lstm_1997` | 10^{first:.1f} | {solved} | "),
        ("lstm_1997_orthogonal", "| `lstm_1997 model.init=orthogonal` | 10^{first:+.1f} | not in 500 | "),
    ],
)
def test_figures_are_the_records(run, row):
    record = json.loads((DOCS / "results" / "cells" / f"{run}.json").read_text())
    before, *_, after = record["gradient_scalars"]
    figures = {"first": before["log10_over_lag"], "last": after["log10_over_lag"] or 0.0, "step": after["step"]}
    accuracy = record["test"]["accuracy"]
    assert row.format(**figures, accuracy=accuracy, solved=record["steps_to_solve"]) in PAGE
    assert f"{accuracy:.3f}".lstrip("0") in PAGE
