"""The native kernels are built once, checked before use, and replaced by the fused cells where that fails."""

import logging
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from helpers.places import ROOT
from longlag.models.kernels.native import bind, build, kernels
from longlag.models.lstm_scratch import LSTMScratch

pytestmark = pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler, cc")
BUILD = "from longlag.models.kernels.native import build; print(build.library())"
on_x86 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the flags are those of x86")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, compiled into fast, and nothing that this process has loaded before."""
    monkeypatch.setenv("LONGLAG_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(build, "FLAGS", tuple("-O0" if flag == "-O3" else flag for flag in build.FLAGS))
    kernels.cache_clear()
    yield tmp_path / "cache" / "native"
    kernels.cache_clear()


def compiler(folder: Path, *lines: str) -> str:
    """A script in place of the compiler, which answers --version."""
    script = folder / "compiler"
    script.write_text("\n".join(["#!/bin/sh", '[ "$1" = --version ] && { echo mine; exit; }', *lines]))
    script.chmod(0o755)
    return str(script)


def start(code: str, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")} | environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_built_once_and_found_again(cache, monkeypatch):
    path = build.library()
    assert path.parent == cache
    assert cache.stat().st_mode & 0o777 == 0o700
    assert {file.suffix for file in cache.iterdir()} == {".so", ".ok", ".lock"}
    monkeypatch.setattr(build, "_build", lambda *_: pytest.fail("built again"))
    assert build.library() == path


def test_what_determines_the_library_names_it(tmp_path, monkeypatch):
    names = {build.library().name, build.library("-DANYTHING").name}
    with monkeypatch.context() as other:
        other.setattr(build, "_processor", lambda: "another processor")
        names.add(build.library().name)
    with monkeypatch.context() as other:
        other.setenv("CC", compiler(tmp_path, 'exec cc "$@"'))  # of another version
        names.add(build.library().name)
    with monkeypatch.context() as other:
        changed(other, tmp_path, "scan.c", "/* One step each", "/* One step")
        names.add(build.library().name)
    assert len(names) == 5


def changed(monkeypatch: pytest.MonkeyPatch, folder: Path, file: str, text: str, other: str) -> None:
    """Build from sources in which a text is another one."""
    sources = shutil.copytree(build.HERE, folder / "sources", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    old = (sources / file).read_text(encoding="utf-8")
    assert text in old
    (sources / file).write_text(old.replace(text, other), encoding="utf-8")
    monkeypatch.setattr(build, "sources", lambda: sorted(sources.iterdir()))


@pytest.mark.parametrize("left", [0, 1000, 30_000])
def test_a_truncated_file_is_built_again(left):
    path = build.library()
    whole = path.read_bytes()
    path.write_bytes(whole[:left])
    assert build.library() == path
    assert len(path.read_bytes()) > 30_000
    bind.load(path)


def test_a_file_without_its_stamp_is_built_again():
    path = build.library()
    path.with_suffix(".ok").unlink()
    path.write_bytes(b"of somebody else")
    bind.load(build.library())


@pytest.mark.parametrize("stamp", [b"", b"\xff\x00", b"0" * 64])
def test_a_file_whose_stamp_is_of_other_bytes_is_built_again(stamp):
    path = build.library()
    path.with_suffix(".ok").write_bytes(stamp)
    path.write_bytes(b"of somebody else")
    bind.load(build.library())


WRONG = {  # in the file, the text, and what it becomes
    "a gate": ("lstm.c", "vec i = sigmoid(z[j][1])", "vec i = sigmoid(z[j][2])"),
    "C": ("lstm.c", "store(dC + at, dcell * f)", "store(dC + at, dcell * i)"),
    "1997": ("lstm_1997.c", "dcell * (i * slope_of_tanh(s))", "dcell * slope_of_tanh(s)"),
    "a peephole": ("lstm_peephole.c", " + p_f * dz_f);", ");"),
    "r": ("gru.c", "dz_n * (q * slope_of_sigmoid(r))", "dz_n * (n * slope_of_sigmoid(r))"),
    "to h": ("gru.c", "store(dh + at, d * z)", "store(dh + at, all(0))"),
    "the slope": ("rnn.c", "((d) * slope_of_tanh(h))", "(d)"),
    "the kink": ("rnn_relu.c", "choose((bits)((h) <= all(0)), all(0), (d))", "(d)"),
    "U back": ("product.h", "U + b * H * stride, stride, 1, to)", "U + b * H * stride, 1, stride, to)"),
    "the last rows": ("product.h", "if ((left) == 1) TILE(1, columns);", "(void)(left);"),
    "the products": ("weights.c", "rows - first < BLOCK ? rows - first : BLOCK", "rows < BLOCK ? rows : BLOCK"),
    "small arguments": (
        "vector.h",
        "vec e = rest * power + (power - all(1));",
        "vec e = (rest + all(1)) * power - all(1);",
    ),
    "the mask": ("attention.c", "at > (whole)(query - key)", "at > (whole)(query - key + 1)"),
    "the mean": ("attention.c", "(dp[j][c] - all(mean[j]))", "dp[j][c]"),
    "the last queries": ("attention.c", "there ? stats[2 * (t + j) + 1] : 0", "stats[1]"),
    "a head": ("attention.c", "dq + head * T * D", "dq"),
    "the scan": ("scan.c", "carry[u] = a[u] * d;", "carry[u] = d;"),
    "the conjugate": ("scan.c", "im * before[u] - re * before[u + 1]", "im * before[u] + re * before[u + 1]"),
}


@pytest.mark.slow
@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_library_is_not_used(wrong, cache, tmp_path, monkeypatch):
    changed(monkeypatch, tmp_path, *WRONG[wrong])
    with pytest.raises(build.Unavailable, match="the check of the kernels "):
        build.library()
    assert {file.suffix for file in cache.iterdir()} == {".lock"}


def test_a_library_for_another_processor_ends_no_run(tmp_path, monkeypatch, caplog):
    """It ends the process that checks it, by an illegal instruction."""
    illegal = tmp_path / "illegal.c"
    illegal.write_text("long lanes(void) { __builtin_trap(); }\n")
    names = [f"{cell}_{part}" for cell in bind.CELLS for part in ("pack", "forward", "backward")]
    names += [f"{scan}_{part}" for scan in bind.SCANS for part in ("forward", "backward")]
    names += ["sigmoid_array", "tanh_array", "add_products"]
    names += ["attention_space", "attention_forward", "attention_backward"]
    with illegal.open("a") as file:
        file.writelines(f"void {name}(void) {{}}\n" for name in names)
        file.write("long size_of_real(void) { return 4; }\n")
    script = compiler(tmp_path, f'while [ "$1" != -o ]; do shift; done; exec cc -shared -fPIC -o "$2" {illegal}')
    monkeypatch.setenv("CC", script)
    with pytest.raises(build.Unavailable, match=r"the check of the kernels was ended by signal \d+"):
        build.library()
    assert_fused(caplog, "was ended by signal")


def assert_fused(caplog: pytest.LogCaptureFixture, reason: str) -> None:
    """Two cores run as fused, with one line that says why."""
    caplog.clear()
    torch.manual_seed(0)
    x = torch.randn(2, 5, 2)
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            core, fused = LSTMScratch(2, 3, impl="native"), LSTMScratch(2, 3, impl="fused")
            fused.load_state_dict(core.state_dict())
            assert core.ran == "fused"
            assert torch.equal(core(x), fused(x))
    (line,) = caplog.messages
    assert line.startswith("No native kernels: ")
    assert reason in line
    assert "\n" not in line


def test_without_a_compiler(monkeypatch, caplog):
    monkeypatch.setenv("CC", "no-such-compiler")
    assert_fused(caplog, "no-such-compiler")


def test_a_compiler_that_is_no_command(monkeypatch, caplog):
    monkeypatch.setenv("CC", "cc '-O2")
    assert_fused(caplog, "CC=cc '-O2 is not a command: No closing quotation")


def test_nobodys_home(monkeypatch, caplog):
    """As in a container whose user is in no list of users."""

    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("LONGLAG_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", home)
    assert_fused(caplog, "Could not determine home directory")


def test_a_cache_that_cannot_be_written_to(cache, monkeypatch, caplog):
    """What is in it is used all the same."""

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(cache))

    path = build.library()
    monkeypatch.setattr(build, "FileLock", refused)
    assert build.library() == path
    path.unlink()
    assert_fused(caplog, "Permission denied")


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # Python 3.12: of the threads that torch may have
def test_a_process_that_is_forked_and_several_threads_use_one_library():
    torch.manual_seed(0)
    core, inputs = LSTMScratch(3, 40, impl="native"), [torch.randn(5, 100, 3) for _ in range(8)]
    assert core.ran == "native"
    with torch.no_grad():
        expected = [core(x) for x in inputs]
        child = os.fork()
        if not child:
            os._exit(0 if torch.equal(core(inputs[0]), expected[0]) else 1)
        assert os.waitpid(child, 0)[1] == 0
    with torch.no_grad(), ThreadPoolExecutor(8) as pool:
        found = list(pool.map(core, inputs * 10))
    assert all(map(torch.equal, found, expected * 10))


def test_a_compiler_that_fails(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("CC", compiler(tmp_path, "echo cell.h: error: I cannot >&2; echo more >&2; exit 1"))
    assert_fused(caplog, "the compiler failed: cell.h: error: I cannot")


def test_a_compiler_that_hangs(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(build, "SECONDS", 0.2)
    monkeypatch.setenv("CC", compiler(tmp_path, "exec sleep 60"))
    assert_fused(caplog, "the compiler took more than 0.2 s")


def test_a_lock_that_is_never_released(cache, monkeypatch, caplog):
    path = build.library()
    path.unlink()
    monkeypatch.setattr(build, "SECONDS", 0.2)
    with build.FileLock(path.with_suffix(".lock")):
        monkeypatch.setattr(build, "_key", lambda *_: path.stem)
        assert_fused(caplog, "another process has held")


def test_a_folder_that_cannot_be_made(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LONGLAG_CACHE", str(tmp_path / "file"))
    assert_fused(caplog, "Not a directory")


def test_a_folder_that_others_can_write_to(cache, monkeypatch, caplog):
    cache.mkdir(parents=True)
    cache.chmod(0o777)
    assert_fused(caplog, "others can write to it")


@pytest.mark.parametrize(
    ("base", "expected"), [("{tmp}/c", "{tmp}/c/longlag/native"), ("c", "{tmp}/.cache/longlag/native")]
)
def test_the_folder_is_in_the_users_cache(base, expected, tmp_path, monkeypatch):
    """A relative path counts as none, as the XDG specification has it."""
    monkeypatch.delenv("LONGLAG_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", base.format(tmp=tmp_path))
    assert build.folder() == Path(expected.format(tmp=tmp_path))


def test_building_needs_no_torch():
    process = start(f"{BUILD}; import sys; print('torch' in sys.modules, 'numpy' in sys.modules)")
    said, complaint = process.communicate(timeout=100)
    assert said.splitlines()[1:] == ["False False"], complaint


def test_a_builder_that_is_killed_is_in_nobodys_way(cache, tmp_path):
    slow = compiler(tmp_path, f"touch {tmp_path}/begun; exec sleep 60")
    process = start(BUILD, CC=slow)
    while not (tmp_path / "begun").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    compiler(tmp_path, 'exec cc "$@"')  # the same one, of the same version, has recovered
    process = start(BUILD, CC=slow)
    said, complaint = process.communicate(timeout=100)
    assert process.returncode == 0, complaint
    bind.load(Path(said.strip()))


@pytest.mark.slow
def test_two_hundred_processes_build_one_library(cache, tmp_path):
    counting = compiler(tmp_path, f"echo once >> {tmp_path}/compiled", 'exec cc "$@"')
    processes = [start(BUILD, CC=counting) for _ in range(200)]
    said = {process.communicate(timeout=250) for process in processes}
    assert {process.returncode for process in processes} == {0}, said
    ((path, _),) = said
    assert (tmp_path / "compiled").read_text().split() == ["once"]
    assert sorted(file.suffix for file in cache.iterdir()) == [".lock", ".ok", ".so"]
    bind.load(Path(path.strip()))


@on_x86
@pytest.mark.parametrize("number", ["float", "double"])
@pytest.mark.parametrize("width", ["-mno-avx512f", "-mno-avx"])
def test_narrower_vectors(width, number):
    """Of 32 and of 16 bytes. The library is checked as it is built."""
    library = bind.load(build.library(width, *(["-DLONGLAG_DOUBLE"] if number == "double" else [])))
    most = {"-mno-avx512f": 32, "-mno-avx": 16}[width]
    assert library.lanes() <= most // library.size_of_real()


SANITIZERS = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
STRICT = ("-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter")  # the cells share one signature


@pytest.mark.slow
@pytest.mark.parametrize(
    "extra",
    ["", "-DLONGLAG_DOUBLE", *(pytest.param(flag, marks=on_x86) for flag in ("-mno-avx512f", "-mno-avx"))],
)
def test_sanitizers_find_nothing(extra, tmp_path):
    """With arrays of exactly the size that the kernels need."""
    (tmp_path / "empty.c").write_text("int main(void) { return 0; }\n")
    tried = subprocess.run(["cc", *SANITIZERS, "-o", "empty", "empty.c"], cwd=tmp_path, check=False)
    if tried.returncode or subprocess.run([tmp_path / "empty"], check=False).returncode:
        pytest.skip("the compiler has no AddressSanitizer and UBSan")
    native = build.NATIVE.get(platform.machine())
    flags = [flag for flag in (*build.FLAGS, native, extra, *SANITIZERS, *STRICT) if flag and flag != "-shared"]
    files = [path for path in build.sources() if path.suffix == ".c"]
    driver = Path(__file__).with_name("native_memory.c")
    subprocess.run(["cc", *flags, "-I", build.HERE, "-o", tmp_path / "driver", *files, driver], check=True)
    done = subprocess.run([tmp_path / "driver"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
