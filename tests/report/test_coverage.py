"""The 95% intervals of the tables contain the true value as often as docs/protocol.md says, by simulation."""

import pytest

from helpers.places import ROOT
from longlag.report.statistics import INTERVAL, RANGE


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import interval_coverage

    return interval_coverage


@pytest.mark.parametrize("runs", [3, 5, 10, 20])
def test_the_share_of_solved_runs(tool, runs: int):
    """Wilson's interval; of three runs it may fall short of 95% for a share near 1."""
    for outcome in tool.OUTCOMES[:3]:
        found = tool.simulate(outcome, runs, sets=1000)
        assert (found.kind, found.bounded) == (INTERVAL, 1.0)
        assert found.covered > (0.84 if runs == 3 else 0.9), outcome.name


@pytest.mark.parametrize("runs", [5, 10, 20])
def test_means_from_five_runs_on(tool, runs: int):
    for outcome in tool.OUTCOMES[3:]:
        found = tool.simulate(outcome, runs, sets=1000)
        assert found.kind == INTERVAL
        assert found.covered > (0.92 if outcome.name.endswith("normal") else 0.88), outcome.name


def test_three_runs_have_no_interval(tool):
    """Their range contains the true mean in three cases of four at best: it is not called an interval."""
    for outcome in tool.OUTCOMES[3:]:
        found = tool.simulate(outcome, 3, sets=1000)
        assert found.kind == RANGE
        assert found.covered < 0.93
