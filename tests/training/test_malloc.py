"""The allocator: chosen by name, recorded, refused in one line where it cannot be had."""

import json
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


def test_refused_elsewhere(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(ValueError, match="needs Linux with glibc") as refused:
        malloc.use("tuned")
    assert "\n" not in str(refused.value)
    assert malloc.in_use() == "stock"


def test_run_asks_for_it(run_small, monkeypatch: pytest.MonkeyPatch):
    asked: list[str] = []
    monkeypatch.setattr(malloc, "use", asked.append)
    _, record = run_small("runtime.malloc=tuned")
    assert asked == ["tuned"]
    assert record["environment"]["malloc"] == "stock"  # what is in use, not what was asked for
