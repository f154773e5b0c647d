"""A W&B server on the loopback: answers what a run asks, keeps what it is sent, and dies when told to."""

import gzip
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from typing import Any
from urllib.parse import urlsplit

API_KEY = "0123456789abcdef" * 2 + "01234567"  # of the right shape, nobody's
ENTITY = "nobody"


class Sent:
    """What the server was sent of one run.

    Attributes:
        upserted: the variables of `upsertBucket`, the latest of each: `groupName`, `displayName`, `jobType`, …
        history, summary: as logged.
        exit_codes: one for each time that the run ended.
        files: the bytes of each uploaded file.
    """

    def __init__(self) -> None:
        self.upserted: dict[str, Any] = {}
        self.history: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}
        self.exit_codes: list[int] = []
        self.files: dict[str, bytes] = {}

    @property
    def config(self) -> dict[str, Any]:
        """Plain values."""
        found = json.loads(self.upserted.get("config", "{}"))
        return {name: entry["value"] for name, entry in found.items() if name != "_wandb"}

    @property
    def bucket(self) -> dict[str, Any]:
        """As GraphQL has a run."""
        sent, project = self.upserted, {"id": "project", "name": self.upserted["project"]}
        return {
            "id": f"id-{sent['name']}",
            "name": sent["name"],
            "displayName": sent.get("displayName"),
            "description": None,
            "sweepName": None,
            "project": project | {"entity": {"id": "entity", "name": ENTITY}},
            "config": sent.get("config", "{}"),
            "summaryMetrics": json.dumps(self.summary),
            "historyLineCount": len(self.history),
            "historyTail": json.dumps([json.dumps(row) for row in self.history[-1:]]),
            "eventsLineCount": 0,
            "eventsTail": "[]",
            "logLineCount": 0,
            "tags": sent.get("tags") or [],
            "notes": None,
            "wandbConfig": '{"t": 1}',
        }


class Server(ThreadingHTTPServer):
    """Serves from its construction until `die`, on a port of its own.

    To teach it another GraphQL operation, give it a method `on_OPERATION`: variables -> data.

    Attributes:
        url: its address.
        runs: what was sent, by run id.
        asked: the GraphQL operations in order, with their variables.
        unknown: what it had no answer to.
    """

    daemon_threads = False  # `server_close` waits for the requests at hand

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.environment = {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": API_KEY}  # makes wandb talk to it
        self.runs: dict[str, Sent] = {}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.unknown: list[str] = []
        self.lock = Lock()
        self._hangs, self._ends = Event(), Event()
        self._serving = Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._serving.start()

    def hang(self) -> None:
        """From now on connections are taken and nothing is answered, until `die`."""
        self._hangs.set()

    def hung(self) -> bool:
        """What a request asks first: whether it is never to be answered. Returns at the end of the server then."""
        return self._hangs.is_set() and self._ends.wait()

    def die(self) -> None:
        """From now on connections are refused."""
        self._ends.set()
        if self._serving.is_alive():
            self.shutdown()
            self._serving.join()
            self.server_close()

    def graphql(self, operation: str, variables: dict[str, Any]) -> dict[str, Any]:
        """The answer to a GraphQL request."""
        self.asked.append((operation, variables))
        if answer := getattr(self, f"on_{operation}", None):
            return {"data": answer(**variables)}
        self.unknown.append(operation)
        return {"errors": [{"message": f"the stub knows no {operation}"}]}

    def stream(self, run: str, files: dict[str, Any], complete: bool = False, exitcode: int = 0, **_: Any) -> None:
        """Lines of the files that grow while a run runs, or how it ended."""
        sent = self.runs[run]
        if history := files.get("wandb-history.jsonl"):
            sent.history[history["offset"] :] = map(json.loads, history["content"])
        if summary := files.get("wandb-summary.json"):
            sent.summary |= json.loads(summary["content"][-1])
        if complete:
            sent.exit_codes.append(exitcode)

    def on_Viewer(self) -> dict[str, Any]:
        about = {"id": "viewer", "username": ENTITY, "email": f"{ENTITY}@localhost", "flags": "{}"}
        return {"viewer": about | {"entity": ENTITY, "teams": {"edges": []}}}

    def on_ServerFeaturesQuery(self) -> dict[str, Any]:
        return {"serverInfo": {"features": []}}

    def on_RunResumeStatus(self, name: str, project: str, **_: Any) -> dict[str, Any]:
        bucket = self.runs[name].bucket if name in self.runs else None
        return {
            "model": {"id": "project", "name": project, "entity": {"id": "entity", "name": ENTITY}, "bucket": bucket}
        }

    def on_UpsertBucket(self, name: str, **given: Any) -> dict[str, Any]:
        new = name not in self.runs
        sent = self.runs.setdefault(name, Sent())
        sent.upserted |= {"name": name} | {key: value for key, value in given.items() if value is not None}
        return {"upsertBucket": {"bucket": sent.bucket, "inserted": new}}

    def on_OrganizationCoreWeaveOrganizationID(self, **_: Any) -> dict[str, Any]:
        return {"entity": None}

    def on_anonymous(self, **_: Any) -> dict[str, Any]:
        return {"project": None}  # asked for the artifact that a new one follows: there is none

    def on_CreateArtifact(self, **_: Any) -> dict[str, Any]:
        known = {"id": "artifact", "state": "COMMITTED", "artifactSequence": {"latestArtifact": None}}  # wants no files
        return {"createArtifact": {"artifact": known}}

    def on_CreateRunFiles(self, run: str, files: list[str], **_: Any) -> dict[str, Any]:
        urls = [{"name": file, "uploadUrl": f"{self.url}/storage/{run}/{file}"} for file in files]
        return {"createRunFiles": {"runID": f"id-{run}", "uploadHeaders": [], "files": urls}}


class _Request(BaseHTTPRequestHandler):
    """One request, with a connection of its own."""

    server: Server
    timeout = 10  # seconds for a client to say what it wants

    def do_POST(self) -> None:
        if self.server.hung():
            return
        path, body = urlsplit(self.path).path, self._body()
        with self.server.lock:
            if path == "/graphql":
                asked = json.loads(body)
                self._answer(self.server.graphql(asked["operationName"] or "anonymous", asked.get("variables") or {}))
            elif path.endswith("/file_stream"):
                self.server.stream(path.split("/")[-2], **{"files": {}} | json.loads(body))
                self._answer({})
            elif path.startswith("/sdk/otel"):  # wandb's measurements of itself
                self._answer({})
            else:
                self.server.unknown.append(f"POST {path}")
                self._answer({}, status=404)

    def do_PUT(self) -> None:
        if self.server.hung():
            return
        run, name = urlsplit(self.path).path.removeprefix("/storage/").split("/", 1)
        body = self._body()
        with self.server.lock:
            self.server.runs[run].files[name] = body
            self._answer({})

    def do_GET(self) -> None:
        self.server.unknown.append(f"GET {self.path}")
        self._answer({}, status=404)

    def log_message(self, *_: Any) -> None:
        """Nothing on the terminal."""

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _answer(self, answer: dict[str, Any], status: int = 200) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
