"""The W&B Report, saved for real to a server on the loopback."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb

from helpers.made_up import failed, run
from helpers.wandb_stub import ENTITY, Sent, Server
from longlag.tracking import wandb_report

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:pydantic", "ignore::DeprecationWarning:wandb_workspaces"
)


class Reports(Server):
    """The stub, with projects, lists of runs, and reports.

    Attributes:
        saved: the reports by id, as they were sent last.
    """

    def __init__(self) -> None:
        self.saved: dict[str, dict[str, Any]] = {}
        super().__init__()

    def on_anonymous(self, **variables: Any) -> dict[str, Any]:
        if "spec" in variables:
            return self._save(**variables)
        if "perPage" in variables:
            return self._list(**variables)
        return super().on_anonymous(**variables) | self.on_Viewer()

    def _save(self, spec: str, projectName: str, entityName: str, id: str | None = None, **view: Any) -> dict[str, Any]:
        id = id or f"report{len(self.saved)}"
        self.saved[id] = {"spec": json.loads(spec), **view}
        project = {"id": "project", "name": projectName, "entityName": entityName}
        view = {name: view[name] for name in ("name", "displayName", "description", "type")}
        return {"upsertView": {"inserted": True, "view": {"id": id, "spec": spec, "project": project, **view}}}

    def _list(self, **variables: Any) -> dict[str, Any]:
        if "project" not in variables:
            nobody = {"user": None, "createdAt": "2026-01-01T00:00:00", "isBenchmark": False}
            node = {"id": "project", "name": "longlag", "entityName": ENTITY, **nobody}
            return {"models": {"edges": [{"node": node}], "pageInfo": {"hasNextPage": False, "endCursor": None}}}
        edges = [{"node": self._run(sent), "cursor": sent.upserted["name"]} for sent in self.runs.values()]
        runs = {"edges": edges, "pageInfo": {"hasNextPage": False, "endCursor": None}}
        return {"project": {"internalId": "1", "runCount": len(edges), "readOnly": False, "runs": runs}}

    @staticmethod
    def _run(sent: Sent) -> dict[str, Any]:
        kept = {"group": sent.upserted.get("groupName"), "jobType": sent.upserted.get("jobType"), "state": "finished"}
        empty = dict.fromkeys(("heartbeatAt", "createdAt", "commit", "notes", "systemMetrics", "sweepName"))
        empty["user"] = {"name": ENTITY, "username": ENTITY}
        return {**empty, **sent.bucket, **kept, "projectId": "1", "readOnly": False, "historyKeys": {}}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reports]:
    server = Reports()
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    yield server
    wandb.teardown()
    server.die()


def published(runs: list[dict], kept: Path, title: str = "the gap") -> str:
    return wandb_report.publish(runs, f"{ENTITY}/longlag", title, kept)


def kinds(server: Reports) -> list[str]:
    return sorted(sent.upserted["jobType"] for sent in server.runs.values())


def test_runs_curves_and_report_are_there(server: Reports, tmp_path: Path):
    runs = [run(seed=0), run(seed=1), failed(seed=2)]
    url = published(runs, tmp_path / "kept.json")
    assert kinds(server) == ["comparison", "curve", "run", "run", "run"]
    sent = [one for one in server.runs.values() if one.upserted["jobType"] == "run"]
    assert {one.config["config_hash"] for one in sent} == {one["config_hash"] for one in runs}
    assert sorted(one.exit_codes for one in sent) == [[0], [0], [1]]
    assert any("gradient/log10_norm" in row for row in sent[0].history)
    (report,) = server.saved.values()
    text = json.dumps(report["spec"])
    assert report["displayName"] == "the gap"
    for shown in (
        "trained/accuracy",
        "tested/accuracy",
        "gradient/log10_norm",
        "val/accuracy",
        "comparison/table",
        "validation data alone",
    ):
        assert shown in text
    assert json.loads((tmp_path / "kept.json").read_text())["url"] == url
    assert server.unknown == []


def test_again_sends_nothing_and_updates_the_same_report(server: Reports, tmp_path: Path):
    published([run()], tmp_path / "kept.json")
    before = {name: list(sent.history) for name, sent in server.runs.items()}
    published([run()], tmp_path / "kept.json", title="the gap")
    assert {name: list(sent.history) for name, sent in server.runs.items()} == before
    assert len(server.saved) == 1
    published([run(), run(seed=1)], tmp_path / "kept.json")
    assert kinds(server) == ["comparison", "comparison", "curve", "curve", "run", "run"]
    (report,) = server.saved.values()
    group = next(sent.upserted["groupName"] for sent in reversed(server.runs.values()))
    assert json.dumps(report["spec"]).count(group) == 2


@pytest.mark.parametrize("where", ["longlag", "a/b/c", "/longlag", "me/"])
def test_where_must_be_entity_and_project(where: str, tmp_path: Path):
    with pytest.raises(ValueError, match="--wandb must be ENTITY/PROJECT, got"):
        wandb_report.publish([run()], where, "t", tmp_path / "kept.json")


def test_nobody_is_logged_in(tmp_path: Path):
    with pytest.raises(ValueError, match="nobody is logged in to W&B: run `wandb login` first"):
        published([run()], tmp_path / "kept.json")


def test_without_wandb_workspaces(server: Reports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "wandb_workspaces.reports.v2", None)
    with pytest.raises(ValueError, match=r"pip install 'longlag\[report\]'"):
        published([run()], tmp_path / "kept.json")


def test_the_server_is_gone(server: Reports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(wandb_report.SETTINGS, "timeout", 2)
    server.die()
    with pytest.raises(ConnectionError, match=r"^W&B: "):
        published([run()], tmp_path / "kept.json")
    assert not (tmp_path / "kept.json").exists()
