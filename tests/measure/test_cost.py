"""What a run cost."""

import sys

import pytest
import torch

from longlag.measure.cost import peak_memory_bytes, watch_memory


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets a peak")
def test_the_peak_of_a_run_is_not_that_of_the_one_before():
    cpu = torch.device("cpu")
    large = torch.ones(60_000_000)  # 240 MB
    before = peak_memory_bytes(cpu)
    del large
    watch_memory(cpu)
    assert peak_memory_bytes(cpu) < before - 150e6
