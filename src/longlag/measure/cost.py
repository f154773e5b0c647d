"""The cost of a run (parameters, memory) and the environment it ran in."""

import os
import platform
import resource
import subprocess
import sys
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from longlag.models.match_parameters import count
from longlag.models.network import Network

PACKAGES = ("longlag", "torch", "pytorch-lightning", "hydra-core", "wandb", "numpy")


def parameters(network: Network) -> dict[str, Any]:
    """Count the trainable parameters of the whole network, of its core and of its head; say how its inputs are read."""
    return {
        "parameters": count(network),
        "core_parameters": count(network.core),
        "head_parameters": count(network.head),
        "encoder": network.encoder.kind,
    }


def watch_memory(device: torch.device) -> None:
    """Reset the peak memory, since a worker process executes several runs one after another."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with suppress(OSError):  # not Linux, or not permitted: the peak is then that of the whole process
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # 5 resets VmHWM, see proc(5)


def peak_memory_bytes(device: torch.device) -> int:
    """Peak memory since `watch_memory`: allocated on the GPU, or resident in the whole process on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with suppress(OSError):
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # bytes on macOS, KiB elsewhere


def environment(device: torch.device, allocator: str) -> dict[str, Any]:
    """Versions, machine, processor, device, threads, and the git commit if the code is in a checkout."""
    return {
        "python": platform.python_version(),
        **_versions(),
        "commit": _commit(),
        "platform": platform.platform(),
        "cpu": _processor(),
        "cpu_count": os.cpu_count(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "threads": torch.get_num_threads(),
        "malloc": allocator,
    }


@cache
def _versions() -> dict[str, str]:
    return {name: version(name) for name in PACKAGES}


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


@cache  # the code of this process does not change
def _commit() -> str | None:
    """The git commit of the checkout that contains this file, with `+` if it has uncommitted changes."""
    root = Path(__file__).parents[3]
    if not (root / ".git").exists():
        return None
    try:
        said = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty=+", "--abbrev=12"],
            capture_output=True, text=True, timeout=5, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return said.stdout.strip()
