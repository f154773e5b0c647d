"""The tables of docs/configuration.md: every key of conf/ with its default and its comment, from the YAML files."""

import re
from collections.abc import Callable, Iterator
from functools import partial
from itertools import takewhile
from pathlib import Path

CONF = Path(__file__).parents[1] / "conf"
GLOBAL = "# @package _global_"
LINE = re.compile(r"( *)(\w+):(?: +([^#\s].*?))??(?: +# *(.*))?")  # indentation, key, value, comment
FLOW = re.compile(r"\{(\w+): (.+)\}")  # a mapping of one key, in a line
SPECIAL, ESCAPED = re.compile(r"([|*])"), r"\\\1"  # what Markdown would not show as it is
HIDDEN = ("_target_", "_partial_")
PRESETS = ("experiment",)  # only what they are for is said: they set keys of the other groups
GROUPS = ("model", "task", "trainer", "lag_mode", "logger", "hydra/launcher", "experiment")


def keys(path: Path, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """The keys of a YAML file, with dots, and for each its value and the comment beside it."""
    parents: list[tuple[int, str]] = [(-1, prefix)]
    for line in path.read_text(encoding="utf-8").splitlines():
        if not (found := LINE.fullmatch(line)):
            continue
        indent, name, value, comment = len(found[1]), found[2], found[3] or "", found[4] or ""
        while parents[-1][0] >= indent:
            parents.pop()
        key = f"{parents[-1][1]}.{name}".removeprefix(".")
        parents.append((indent, key))
        if inner := FLOW.fullmatch(value):
            key, name, value = f"{key}.{inner[1]}", inner[1], inner[2]
        if value and name not in (*HIDDEN, "defaults"):
            yield key, value, comment


def about(path: Path) -> str:
    """The comment at the top of a YAML file."""
    top = takewhile(lambda line: line.startswith("#"), path.read_text(encoding="utf-8").splitlines())
    return " ".join(line.removeprefix("#").strip() for line in top if line != GLOBAL)


def table(rows: Iterator[tuple[str, str, str]]) -> str:
    """A table of keys; empty without rows."""
    cells = [f"| `{key}` | `{value}` | {SPECIAL.sub(ESCAPED, comment)} |" for key, value, comment in rows]
    return "\n".join(["| key | default | |", "|---|---|---|", *cells]) + "\n" if cells else ""


def root() -> str:
    """The table of conf/config.yaml without Hydra's own settings."""
    path = CONF / "config.yaml"
    return table(row for row in keys(path) if row[0].partition(".")[0] != "hydra")


def group(name: str) -> str:
    """The choices of a group: a heading, the comment and the keys of each; of presets the comments alone."""
    paths = sorted((CONF / name).glob("*.yaml"))
    if name in PRESETS:
        return "".join(f"- `{path.stem}`: {about(path)}\n" for path in paths)
    return "\n".join(_choice(path, name) for path in paths)


def _choice(path: Path, name: str) -> str:
    prefix = "" if GLOBAL in path.read_text(encoding="utf-8") else name.replace("/", ".")
    return f"**`{name}={path.stem}`** {about(path)}\n\n{table(keys(path, prefix))}".rstrip("\n") + "\n"


WRITERS: dict[str, Callable[[], str]] = {
    "root": root,
    **{name.replace("/", "_"): partial(group, name) for name in GROUPS},
}
