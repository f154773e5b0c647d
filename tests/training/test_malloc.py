"""The allocator: chosen by name, recorded, refused in one line where it cannot be had."""

import json
import platform
import subprocess
import sys

import pytest

from longlag.training import malloc

IN_A_PROCESS_OF_ITS_OWN = """
import json
from longlag.training import malloc
told = [malloc.in_use()]
for choice in ("stock", "tuned", "stock"):
    malloc.use(choice)
    told.append(malloc.in_use())
from longlag.measure.cost import environment
import torch
print(json.dumps([*told, environment(torch.device("cpu"), malloc.in_use())["malloc"]]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's alone")
def test_tuned_stays_and_is_recorded():
    done = subprocess.run([sys.executable, "-c", IN_A_PROCESS_OF_ITS_OWN], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == ["stock", "stock", "tuned", "tuned", "tuned"]


BIG_THEN_SMALL = """
import torch
from longlag.measure.cost import peak_memory_bytes, watch_memory
from longlag.training import malloc
malloc.use("auto")
cpu = torch.device("cpu")
peaks = []
for millions in (200, 1):
    malloc.release()
    watch_memory(cpu)
    blocks = [torch.ones(1_000_000) for _ in range(millions)]
    peaks.append(peak_memory_bytes(cpu))
    del blocks
print(malloc.in_use(), peaks[0] - peaks[1] > 600e6)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's alone")
def test_the_peak_of_a_run_does_not_count_what_an_earlier_one_freed():
    """A worker executes one run after another, and `auto` keeps freed memory."""
    done = subprocess.run([sys.executable, "-c", BIG_THEN_SMALL], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["tuned", "True"]


def test_auto_is_stock_elsewhere(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(malloc._Process, "malloc", "stock")
    malloc.use("auto")
    malloc.release()
    assert malloc.in_use() == "stock"


def test_refused_elsewhere(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(malloc._Process, "malloc", "stock")
    with pytest.raises(ValueError, match="needs Linux with glibc") as refused:
        malloc.use("tuned")
    assert "\n" not in str(refused.value)
    assert malloc.in_use() == "stock"


def test_run_asks_for_it(run_small, monkeypatch: pytest.MonkeyPatch):
    asked: list[str] = []
    monkeypatch.setattr(malloc, "use", asked.append)
    monkeypatch.setattr(malloc._Process, "malloc", "stock")
    _, record = run_small("runtime.malloc=tuned")
    assert asked == ["tuned"]
    assert record["environment"]["malloc"] == "stock"  # what is in use, not what was asked for
