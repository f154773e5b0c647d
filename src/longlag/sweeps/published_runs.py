"""Runs the presets of `conf/experiment/published` in parallel, as one sweep. Needs no torch."""

import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import hydra

from longlag import records, resume, sweep_command
from longlag.records import Record
from longlag.report.published import Published
from longlag.settings import CONF, plain

GROUP = "published"
INTERRUPTED = 130  # exit code of a command that was stopped
PRESETS = CONF / "experiment" / GROUP


class Preset(NamedTuple):
    """A preset as Hydra composes it: its published value, and the `records.begun_hash` by which its run is found."""

    published: Published
    begun_hash: str


def presets() -> dict[str, Preset]:
    """All presets by name. Raises ValueError if one does not state its published value correctly."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return {path.stem: _preset(path.stem) for path in sorted(PRESETS.glob("*.yaml"))}


def _preset(name: str) -> Preset:
    config = plain(hydra.compose("config", [f"experiment={GROUP}/{name}"]))
    try:
        return Preset(Published.of(config["published"]), records.begun_hash(config))
    except ValueError as error:
        raise ValueError(f"{GROUP}/{name}: {error}") from error


def chosen(names: Sequence[str], known: Mapping[str, Preset], large: bool) -> list[str]:
    """The presets to run, the longest first; without names, the small ones, and with `large` the large ones, too.

    Raises ValueError for a name that is not a preset.
    """
    for name in names:
        check(name, known)
    asked = names or [name for name, preset in known.items() if large or preset.published.size == "small"]
    return sorted(dict.fromkeys(asked), key=lambda name: -known[name].published.minutes)


def check(name: str, known: Mapping[str, Preset]) -> None:
    """Raise ValueError if there is no such preset."""
    if name not in known:
        raise ValueError(f"{name}: there is no such preset; there are {', '.join(known)}")


def new_folder() -> Path:
    """The folder for a new sweep of presets, named after the present time."""
    return Path("outputs") / f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}_verify"


def begun(folder: Path) -> list[str]:
    """The names of the presets that the sweep in this folder was begun with.

    Raises FileNotFoundError if the folder holds no sweep, ValueError if the sweep runs something else than presets.
    """
    if not (folder / resume.GRID).is_file():
        raise FileNotFoundError(f"{folder} holds no sweep: there is nothing to go on with")
    words = sweep_command.read(folder)
    asked = [word.removeprefix("experiment=") for word in words if word.startswith("experiment=")]
    names = [name for words in asked for name in words.split(",")]
    if not names or any(not name.startswith(f"{GROUP}/") for name in names):
        raise ValueError(f"{folder} holds a sweep of other experiments; give a folder that `longlag verify` made")
    return [name.removeprefix(f"{GROUP}/") for name in names]


def run(names: Iterable[str], folder: Path, go_on: bool = False, workers: int | None = None) -> str | None:
    """Run a sweep with one run for each preset, in `folder`. Its progress is shown, its final table is not.

    Returns:
        The error of the sweep as a whole, in one line; None if every run finished.

    Raises:
        KeyboardInterrupt: if the sweep was interrupted.
    """
    words = ["-m", "experiment=" + ",".join(f"{GROUP}/{name}" for name in names)]
    words += ["hydra/launcher=processes", "logger=csv", "hydra.sweep.subdir=${hydra:runtime.choices.experiment}"]
    words += [f"hydra.launcher.workers={workers}"] if workers is not None else []
    words.append(f"resume={folder}" if go_on else f"hydra.sweep.dir={folder}")
    command = [sys.executable, "-m", "longlag", *words]
    last = ""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:  # progress; the last line is held back: the caller reports it if it is an error
            sys.stderr.write(last)
            last = line
    if process.returncode == INTERRUPTED:
        raise KeyboardInterrupt(last.strip().removeprefix("longlag: "))
    if process.returncode == 0:
        sys.stderr.write(last)
        return None
    return last.strip()


def results(folder: Path, known: Mapping[str, Preset], names: Iterable[str]) -> dict[str, Record | None]:
    """The record of each preset's run below a folder; None if there is none that can be read."""
    there = resume.index(folder)
    hashes = {name: known[name].begun_hash for name in names}
    return {name: resume.begun(there[asked]) if asked in there else None for name, asked in hashes.items()}
