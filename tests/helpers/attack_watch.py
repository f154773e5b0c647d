"""Runs hostile cases in a process of its own, watched by an audit hook: python -m helpers.attack_watch FOLDER KIND…

Each case has a folder with a copy of a finished run (`run`), of one that was stopped (`stopped`) and of a sweep
(`sweep`), in which it may do what it likes, and beside it a folder `outside`, with a module that must not be imported
and files that must be neither read nor changed. Prints a line of JSON for each case.
"""

import importlib
import io
import json
import logging
import os
import runpy
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
SECRET = "what-only-the-environment-knows"
PRIVATE = "what only a private file knows. " * 300
CANARY = """
import pathlib
pathlib.Path({hit!r}).touch()
import logging, torch

class Core(torch.nn.Module):
    pass

class Handler(logging.StreamHandler):
    pass

def touch(*_, **__):
    return None

stream = None
"""
SMALL = (
    *("task=copy", "lag=4", "max_steps=2", "validation.every=1", "validation.sequences=2", "eval.sequences=2"),
    *("eval.lags=[4]", "model.hidden_size=2", "logger=csv", "trainer=cpu", "runtime.checkpoint_seconds=0"),
)
RUN = "0_lstm_copy_lag4_seed0"
SECONDS = 60  # that a case may take
PROCESSES = ("os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "pty.spawn")
ENTRIES = {  # the event, and which of its arguments are the path of what is made or taken away
    "os.mkdir": [0],
    "os.rename": [0, 1],
    "os.remove": [0],
    "os.rmdir": [0],
    "os.symlink": [1],
    "os.link": [0, 1],
}
CHANGES = ("os.truncate", "os.chmod", "os.chown", "os.utime")  # of what a path leads to
NETWORK = ("socket.getaddrinfo", "socket.gethostbyname", "socket.connect")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
OURS = (["git", "-C", str(ROOT), "describe"], ["fc-list"], ["uname", "-p"])  # programs that a run starts
SYSTEM = ("/dev/null", f"/proc/{os.getpid()}/clear_refs")
TEMPORARY = "temporary"  # the folder for files that a run needs for a moment


class Place(NamedTuple):
    """The folder of a case, and the one beside it."""

    here: Path
    outside: Path

    def config(self, run: str, **groups: Any) -> None:
        """Change groups of the configuration in a record; None takes the group away."""
        path = self.here / run / "record.json"
        record = json.loads(path.read_text())
        for name, settings in groups.items():
            old = record["config"].get(name)
            merge = isinstance(settings, dict) and isinstance(old, dict) and "_target_" not in settings
            record["config"][name] = old | settings if merge else settings
        path.write_text(json.dumps(record))

    def record(self, run: str, **entries: Any) -> None:
        """Change entries of a record."""
        path = self.here / run / "record.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | entries))

    def link(self, name: str, to: str = "target") -> None:
        """A link to something outside."""
        path = self.here / name
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(self.outside / to)

    def file(self, name: str, text: str) -> None:
        """A file with a text, in which `{outside}` is the folder outside."""
        path = self.here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("{outside}", str(self.outside)))


class Case(NamedTuple):
    """An attack.

    Attributes:
        name: what it tries.
        command: what the victim does: the name of a door, and its arguments; `{outside}` is the folder outside.
        said: part of the line that refuses it; None where it is not heeded and the command does its work.
        prepare: makes the folder hostile.
    """

    name: str
    command: tuple[str, ...]
    said: str | None = None
    prepare: Callable[[Place], None] | None = None


class Watch:
    """An audit hook that notes what a case must not do."""

    def __init__(self) -> None:
        self.place: Place | None = None
        self.seen: list[str] = []
        self._inside = False
        sys.addaudithook(self._hear)

    @contextmanager
    def over(self, place: Place) -> Iterator[list[str]]:
        """Watch."""
        self.place, self.seen = place, []
        try:
            yield self.seen
        finally:
            self.place = None

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.place is None or self._inside:
            return
        self._inside = True  # what is done here raises events, too
        try:
            if why := self._why(event, arguments):
                self.seen.append(f"{event}: {why}"[:300])
        finally:
            self._inside = False

    def _why(self, event: str, arguments: tuple[Any, ...]) -> str | None:
        """What is wrong with an event, or None."""
        harmless = {
            "import": lambda: not str(arguments[0]).startswith("canary"),
            "os.putenv": lambda: not os.fsdecode(arguments[0]).startswith(("LONGLAG_ALLOW", "GIT_")),
            "subprocess.Popen": lambda: any(list(arguments[1])[: len(ours)] == ours for ours in OURS),
        } | dict.fromkeys((*PROCESSES, *NETWORK), lambda: False)
        if event in harmless:
            return None if harmless[event]() else str(arguments[:2])
        return self._path(event, arguments)

    def _path(self, event: str, arguments: tuple[Any, ...]) -> str | None:
        """The path that an event touches and must not, or None."""
        if event == "open" and not isinstance(arguments[0], int):
            writes = bool(arguments[2] & WRITES) if isinstance(arguments[2], int) else False
            return self._outside(arguments[0], writes)
        if event in CHANGES:
            return self._outside(arguments[0], True)
        for number in ENTRIES.get(event, []):
            folder, name = os.path.split(os.fsdecode(arguments[number]))
            if why := self._outside(os.path.join(os.path.realpath(folder), name), True, os.path.abspath):
                return why
        return None

    def _outside(self, path: Any, writes: bool, real_path: Callable[[str], str] = os.path.realpath) -> str | None:
        """Whether a path that is written lies outside of the case's folder, or one that is read in `outside`."""
        assert self.place is not None
        if isinstance(path, int):
            return None
        real = Path(real_path(os.fsdecode(path)))
        if real.is_relative_to(self.place.here.parents[1] / TEMPORARY):
            return None
        if real.is_relative_to(self.place.outside) and real.suffix != ".pyc":
            return str(real)
        return str(real) if writes and not real.is_relative_to(self.place.here) and str(real) not in SYSTEM else None


def door(command: tuple[str, ...]) -> None:
    """What the victim does."""
    name, *arguments = command
    if name == "load":
        importlib.import_module("longlag").load(arguments[0])
    elif name == "train":
        sys.argv = ["train.py", *arguments]
        importlib.import_module("longlag.cli").main(["train", *sys.argv[1:]])
    else:
        sys.argv = [f"{name}.py", *arguments]
        folder = "tools" if name == "keep" else "scripts"
        runpy.run_path(str(ROOT / folder / f"{name}.py"), run_name="__main__")


def through(command: tuple[str, ...]) -> tuple[str, str]:
    """How a command ended, `done`, `refused` or the trace of what it did not expect, and all that it said."""
    said, ended = io.StringIO(), "done"
    logging.root.handlers = []
    with redirect_stdout(said), redirect_stderr(said):
        signal.alarm(SECONDS)
        try:
            door(command)
        except SystemExit as stop:
            ended = "refused" if stop.code else "done"
            said.write(f"\n{stop.code}" if isinstance(stop.code, str) else "")
        except (ValueError, OSError) as error:  # of `longlag.load`, which a program calls
            ended = "refused" if command[0] == "load" else traceback.format_exc()
            said.write(f"\n{error}")
        except BaseException:
            ended = traceback.format_exc()
        finally:
            signal.alarm(0)
    return ended, said.getvalue()


def attacked(case: Case, base: Path, folder: Path, watch: Watch) -> dict[str, Any]:
    """Runs a case; what it did that it must not, how it ended and what it said."""
    place = Place(folder / "here", folder / "outside")
    shutil.copytree(base, place.here)
    place.outside.mkdir()
    (place.outside / "target").write_text("as it was")
    (place.outside / "private.txt").write_text(PRIVATE)
    (place.outside / "canary.py").write_text(CANARY.format(hit=str(place.outside / "hit")))
    before = {path: path.read_bytes() for path in place.outside.iterdir()}
    for name in [name for name in sys.modules if name.startswith("canary")]:
        del sys.modules[name]
    environment, path, here = dict(os.environ), list(sys.path), os.getcwd()
    sys.path.insert(0, str(place.outside))
    importlib.invalidate_caches()
    try:
        if case.prepare:
            case.prepare(place)
        os.chdir(place.here)
        with watch.over(place) as seen:
            ended, said = through(tuple(word.replace("{outside}", str(place.outside)) for word in case.command))
    finally:
        os.chdir(here)
        sys.path[:] = path
        os.environ.clear()
        os.environ.update(environment)
    after = {path: path.read_bytes() for path in place.outside.iterdir() if path.is_file()}
    seen += [f"changed: {path.name}" for path in after if after[path] != before.get(path)]
    seen += [f"gone: {path.name}" for path in before if path not in after]
    written = [path for path in place.here.rglob("*") if path.is_file() and not path.is_symlink()]
    texts = [said.encode(), *(path.read_bytes() for path in written if path.stat().st_size < 2**24)]
    seen += [f"told: {word}" for word in (SECRET, PRIVATE[:30]) if any(word.encode() in text for text in texts)]
    shutil.rmtree(folder)
    return {"name": case.name, "did": seen, "ended": ended, "said": said[-600:]}


def made(folder: Path) -> Path:
    """A finished run, the same stopped, and the sweep that it is of."""
    folder.mkdir()
    here = os.getcwd()
    os.chdir(folder)
    ended, said = through(("train", "-m", *SMALL, "hydra.sweep.dir=sweep", "seed=0"))
    os.chdir(here)
    assert ended == "done", ended + said
    for name in ("run", "stopped"):
        shutil.copytree(folder / "sweep" / RUN, folder / name)
    Place(folder, folder).record("stopped", status="interrupted")
    return folder


def _hung(*_: Any) -> None:
    raise BaseException(f"it took more than {SECONDS} seconds")


def main(folder: Path, kinds: list[str]) -> None:
    """All cases of some kinds."""
    from helpers.attack_table import TABLE

    for name in ("longlag.run", "longlag.report.page", "longlag.tracking.wandb_report", "wandb"):
        importlib.import_module(name)
    signal.signal(signal.SIGALRM, _hung)
    (folder / TEMPORARY).mkdir()
    tempfile.tempdir = str(folder / TEMPORARY)
    os.environ["CANARY_SECRET"] = SECRET
    base, watch = made(folder / "base"), Watch()
    through(("evaluate", str(base / "run")))  # what is imported once is imported now
    for number, case in enumerate(case for kind in kinds for case in TABLE[kind]):
        sys.stdout.write(json.dumps(attacked(case, base, folder / str(number), watch)) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2:])
