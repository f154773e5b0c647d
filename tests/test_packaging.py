"""The wheel carries the configuration and the command, and every setting is explained where it stands."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from helpers.places import ROOT
from longlag.settings import CONF

KEY = re.compile(r"^( *)([a-z]\w*): *(.*)$")
COMMENT = re.compile(r"(^|\s)#")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    isolation = ["--no-build-isolation"] if find_spec("hatchling") else []
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", *isolation, "--wheel-dir", str(folder)]
    subprocess.run([*command, str(ROOT)], check=True, cwd=folder)
    (path,) = folder.glob("longlag-*.whl")
    return zipfile.ZipFile(path)


@pytest.mark.slow
def test_wheel_carries_the_configuration(wheel: zipfile.ZipFile):
    packed = {name.removeprefix("longlag/conf/") for name in wheel.namelist() if name.endswith(".yaml")}
    assert "config.yaml" in packed
    assert packed == {path.relative_to(CONF).as_posix() for path in CONF.rglob("*.yaml")}


@pytest.mark.slow
def test_wheel_carries_the_modules_and_nothing_else(wheel: zipfile.ZipFile):
    modules = {name for name in wheel.namelist() if name.endswith(".py")}
    assert modules == {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src").rglob("*.py")}
    kernels = {name for name in wheel.namelist() if name.endswith((".c", ".h"))}
    assert kernels == {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src").rglob("*.[ch]")} != set()
    assert {name.split("/")[0].split("-")[0] for name in wheel.namelist()} == {"longlag", "hydra_plugins"}


@pytest.mark.slow
def test_wheel_installs_the_command_and_the_licence(wheel: zipfile.ZipFile):
    (entry_points,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    assert "longlag = longlag.cli:main" in wheel.read(entry_points).decode()
    assert any(name.endswith("licenses/LICENSE") for name in wheel.namelist())


@pytest.fixture(scope="module")
def installed(wheel: zipfile.ZipFile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs of a new environment with the wheel in it, and what it depends on beside it."""
    place = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    python = place / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", str(wheel.filename)]
    subprocess.run(pip, check=True)
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    inside = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True).stdout.strip()
    # Only the path: a .pth file in that folder, such as that of an editable longlag, is not read.
    (Path(inside) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return place / "bin"


def outside() -> dict[str, str]:
    """The environment of a process that knows no checkout."""
    return {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}


@pytest.mark.slow
def test_the_installed_wheel_trains_and_shows_the_run_outside_of_a_checkout(installed: Path, tmp_path: Path):
    def longlag(*words: str) -> str:
        command = [str(installed / "longlag"), *words]
        done = subprocess.run(command, cwd=tmp_path, env=outside(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert longlag("--version") == f"longlag {version('longlag')}\n"
    assert "longlag train" in longlag()
    assert list(tmp_path.iterdir()) == []  # bare `longlag` trains nothing
    for what, one in (("models", "gru"), ("tasks", "copy"), ("experiments", "gap"), ("published", "tallec")):
        assert one in longlag("list", what)
    assert "# units per layer" in longlag("train", "--help")
    small = ["max_steps=4", "validation.every=2", "validation.sequences=16", "eval.sequences=16", "logger=none"]
    assert "test accuracy" in longlag("train", "model=gru", "task=copy", "lag=5", *small, "hydra.run.dir=run")
    longlag("model=rnn", "lag=5", *small, "hydra.run.dir=other")
    assert "gru" in longlag("table", ".")
    longlag("report", ".", "--to", "page.html")
    assert (tmp_path / "page.html").is_file()
    assert "accuracy" in longlag("evaluate", "run", "eval.lags=[5,9]")
    longlag("gates", "run")
    assert "copy" in longlag("horizon", "--help")
    assert "presets" in longlag("verify", "--help")
    code = "import longlag; print(longlag.__file__)"
    where = subprocess.run(
        [installed / "python", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True, env=outside()
    )
    assert str(installed.parent) in where.stdout


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler, cc")
def test_the_installed_wheel_builds_its_kernels(installed: Path, tmp_path: Path):
    code = "from longlag.models.kernels.native import build; print(build.HERE, build.library())"
    done = subprocess.run(
        [installed / "python", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False,
        env=outside() | {"LONGLAG_CACHE": str(tmp_path / "cache")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    source, library = map(Path, done.stdout.split())
    assert source.is_relative_to(installed.parent)
    assert library.is_relative_to(tmp_path / "cache")


def unexplained(path: Path) -> Iterator[str]:
    """Keys of a file without a comment beside or directly above them.

    Needing none: Hydra's own words (`_target_`, `defaults`, the block `hydra`), a value that points to another key,
    and a sibling's file, whose first lines say what it changes.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    if any(line.startswith("defaults: [") for line in lines):
        if not any(line.startswith("# ") and "@package" not in line for line in lines):
            yield "(the whole file)"
        return
    block = ""
    for above, line in zip(["", *lines], lines, strict=False):
        key = KEY.match(line)
        if key is None:
            continue
        indent, name, value = key.groups()
        block = block if indent else name
        value, commented = COMMENT.split(value)[0].strip(), COMMENT.search(line) or above.lstrip().startswith("#")
        if value and not commented and "${" not in value and block not in ("defaults", "hydra"):
            yield name


@pytest.mark.parametrize("path", sorted(CONF.rglob("*.yaml")), ids=lambda path: str(path.relative_to(CONF)))
def test_every_setting_is_explained_where_it_stands(path: Path):
    if "hydra" not in path.relative_to(CONF).parts:  # Hydra's settings are explained by Hydra
        assert list(unexplained(path)) == []


def test_a_setting_without_a_word_would_be_noticed(tmp_path: Path):
    path = tmp_path / "a.yaml"
    path.write_text("# About it.\na: 1\nb: 2\nc: 3  # three\nblock:\n  d: ${a}\n  e: '#4'\n  _f_: 5\n")
    assert list(unexplained(path)) == ["b", "e"]
    path.write_text("defaults: [a, _self_]\nb: 2\n")
    assert list(unexplained(path)) == ["(the whole file)"]


def pins(path: Path) -> dict[str, Requirement]:
    """The requirements of a file, by name."""
    lines = path.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    found = [Requirement(line.split("--hash")[0]) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(one.name): one for one in found}


def test_the_lock_has_the_versions_that_are_tested():
    locked, tested = pins(ROOT / "requirements.lock"), pins(ROOT / "constraints.txt")
    assert "torch" not in locked
    for name, pin in locked.items():
        elsewhere = pin.marker is not None and not pin.marker.evaluate({"sys_platform": "linux"})
        assert elsewhere or pin.specifier == tested[name].specifier, name


def test_the_lock_has_every_dependency_in_its_range():
    locked = pins(ROOT / "requirements.lock")
    for asked in map(Requirement, tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]):
        if asked.name != "torch":
            (version,) = locked[canonicalize_name(asked.name)].specifier
            assert version.operator == "=="
            assert asked.specifier.contains(version.version), asked


def test_every_file_in_the_lock_has_its_hash_and_none_its_address():
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    for entry in re.split(r"\n(?=[a-z])", text[text.index("\n", text.rindex("#")) :].strip()):
        assert re.fullmatch(r"\S+==\S+( ; .+)?( \\\n    --hash=sha256:[0-9a-f]{64})+", entry), entry[:100]
    assert "://" not in text


def test_torch_reads_checkpoints_safely_and_the_build_backend_is_known():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (torch,) = [one for one in map(Requirement, project["project"]["dependencies"]) if one.name == "torch"]
    assert not torch.specifier.contains("2.9.1")
    assert all(Requirement(one).specifier for one in project["build-system"]["requires"])
