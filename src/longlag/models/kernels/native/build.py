"""Builds the kernels with the system's C compiler, once per machine and version, into the user's cache. Needs no torch.

A library is named by a hash of all that determines it: the sources, the compiler and its flags, the processor. It is
built in a temporary file, tried by `check.py` in a process of its own (an illegal instruction ends a process), and only
then moved into place, with its hash beside it in a file `.ok`. A library whose hash is not that one is built again.
"""

import hashlib
import os
import platform
import shlex
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

HERE = Path(__file__).parent
PACKAGE = "longlag"
FLAGS = ("-O3", "-std=gnu11", "-ffp-contract=fast", "-fno-math-errno", "-shared", "-fPIC")
# All instructions of this processor: the key of the cache says which processor it was.
NATIVE = {"x86_64": "-march=native", "AMD64": "-march=native", "aarch64": "-mcpu=native", "arm64": "-mcpu=native"}
OF_THE_PROCESSOR = ("model name", "flags", "Features", "CPU implementer", "CPU part")  # lines of /proc/cpuinfo
SECONDS = 120  # for the compiler, for the check, and for another process that is building


class Unavailable(Exception):
    """There is no library, for the reason given."""


def library(*extra: str) -> Path:
    """Return the path of a library that has been checked on this machine; build it if there is none.

    Args:
        extra: further flags for the compiler.

    Raises:
        Unavailable: without a working compiler or a folder to write to, or if the library does not pass its check.
    """
    flags = (*FLAGS, *filter(None, [NATIVE.get(platform.machine())]), *extra)
    try:
        compiler = shlex.split(os.environ.get("CC", "")) or ["cc"]
    except ValueError as error:  # such as a quotation mark without its second
        raise Unavailable(f"CC={os.environ['CC']} is not a command: {error}") from error
    try:
        path = folder() / f"{_key(compiler, flags)}.so"
        if not _is_good(path):
            with FileLock(path.with_suffix(".lock"), timeout=SECONDS):
                if not _is_good(path):  # no other process has built it meanwhile
                    _build([*compiler, *flags], path)
    except Timeout as error:
        raise Unavailable(f"another process has held {error.lock_file} for {SECONDS} s") from error
    except (OSError, RuntimeError) as error:  # RuntimeError: no home folder
        raise Unavailable(str(error)) from error
    return path


def folder() -> Path:
    """The folder of the libraries, made if missing: in LONGLAG_CACHE, otherwise in the user's cache.

    Raises:
        Unavailable: if another user could put a library there.
        OSError: if it cannot be made.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    cache = Path(base) if os.path.isabs(base) else Path.home() / ".cache"
    path = Path(os.environ.get("LONGLAG_CACHE") or cache / PACKAGE) / "native"
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = path.stat()
    if status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise Unavailable(f"{path} belongs to another user, or others can write to it")
    return path


def sources() -> list[Path]:
    """The C files and their headers, sorted."""
    return sorted([*HERE.glob("*.c"), *HERE.glob("*.h")])


def _key(compiler: list[str], flags: tuple[str, ...]) -> str:
    """A hash of the sources, the compiler, its flags, the processor and the check."""
    version = _run([*compiler, "--version"], "the compiler")
    found = hashlib.sha256(repr((version, compiler, flags, _processor())).encode())
    for path in [*sources(), HERE / "check.py"]:
        found.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()[:32]


def _processor() -> str:
    """The model of the processor and its instructions."""
    found = [platform.machine()]
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if not line.strip():  # the end of the first core
                break
            if line.partition("\t")[0].partition(":")[0].strip() in OF_THE_PROCESSOR:
                found.append(line.strip())
    if sys.platform == "darwin":
        found.append(_run(["sysctl", "-n", "machdep.cpu.brand_string"], "sysctl"))
    return "\n".join(found)


def _build(command: list[str], path: Path) -> None:
    """Compile, check, and put the library in place."""
    handle, name = tempfile.mkstemp(suffix=".so", prefix=f"{path.stem[:8]}-", dir=path.parent)
    os.close(handle)
    built, stamp = Path(name), Path(name).with_suffix(".ok")
    try:
        _run([*command, "-o", name, *(str(source) for source in sources() if source.suffix == ".c")], "the compiler")
        _check(built)
        stamp.write_text(_hash(built), encoding="ascii")
        built.replace(path)
        stamp.replace(path.with_suffix(".ok"))
    finally:
        built.unlink(missing_ok=True)
        stamp.unlink(missing_ok=True)


def _check(path: Path) -> None:
    """Try a library in a process of its own."""
    root = str(HERE.parents[len(__name__.split(".")) - 2])  # the folder that holds the package
    paths = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    module = f"{__name__.rpartition('.')[0]}.check"
    _run([sys.executable, "-P", "-m", module, str(path)], "the check of the kernels", PYTHONPATH=paths)


def _is_good(path: Path) -> bool:
    """Whether the library is there, as it was when it passed its check."""
    try:
        return path.with_suffix(".ok").read_bytes() == _hash(path).encode()
    except FileNotFoundError:
        return False


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _run(command: list[str], what: str, **environment: str) -> str:
    """Run a command and return its output.

    Raises:
        Unavailable: if it fails, with the first line of its complaint.
    """
    try:
        done = subprocess.run(
            command, env=os.environ | environment, capture_output=True, check=False, text=True, errors="replace",
            timeout=SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{what} took more than {SECONDS} s") from error
    if done.returncode < 0:
        raise Unavailable(f"{what} was ended by signal {-done.returncode}")
    if done.returncode > 0:
        said = [line for line in done.stderr.splitlines() if line.strip()] or ["it said nothing"]
        raise Unavailable(f"{what} failed: {next((line for line in said if 'rror' in line), said[-1])}")
    return done.stdout
