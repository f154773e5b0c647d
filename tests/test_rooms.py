"""The folders of the package: imports go in one direction, and every room says what it is for."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

from helpers.places import ROOT

SOURCE, TESTS = ROOT / "src", ROOT / "tests"
PACKAGE = SOURCE / "longlag"
MODULES = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}
RECORDS_ALONE = {"report", "records", "files", "settings"}  # import neither torch nor Lightning, not even in a function


def room(module: str) -> str:
    """The folder or the top-level module that a module is in."""
    return [*module.split("."), module][1]


def imported(path: Path) -> set[str]:
    """Every module that a file imports, wherever it does."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{name.name}" for name in node.names} | {node.module}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return found


def arrows() -> dict[str, set[str]]:
    """From each room to those that it imports."""
    found: dict[str, set[str]] = defaultdict(set)
    for module, path in MODULES.items():
        names = {name for name in imported(path) & MODULES.keys() if name != "longlag"}
        found[room(module)] |= {room(name) for name in names} - {room(module)}
    return found


def test_no_room_imports_one_that_imports_it():
    graph, free = arrows(), set()
    while ready := [name for name in graph if name not in free and graph[name] <= free]:
        free |= set(ready)
    assert sorted(graph.keys() - free) == []


@pytest.mark.parametrize("name", sorted(RECORDS_ALONE))
def test_what_reads_records_needs_no_torch(name: str):
    for module, path in MODULES.items():
        if room(module) == name:
            heavy = {one.partition(".")[0] for one in imported(path)}
            assert not heavy & {"torch", "pytorch_lightning", "torchmetrics"}, module


def test_every_room_and_every_module_says_what_it_is_for():
    for module, path in MODULES.items():
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), module


def test_no_test_module_imports_another():
    """What several of them need is in tests/helpers."""
    modules = {path.stem for path in TESTS.rglob("test_*.py")}
    for path in TESTS.rglob("*.py"):
        assert not modules & {name.rpartition(".")[2] for name in imported(path)}, path


def test_the_tests_of_a_room_are_in_a_folder_of_its_name():
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    folders = {path.name for path in TESTS.iterdir() if any(path.glob("test_*.py"))}
    assert rooms <= folders <= rooms | {"docs"}
