"""The cost of a sweep: python benchmarks/sweep.py [--save FILE.json] [--pairs 1].

It measures the wall time of `train.py -m` with eight runs of ten seconds or more: side by side in worker processes,
divided by the time of the same runs one after another; both kinds of sweep alternate. It also measures

- the overhead of a run: the time that the later runs of a worker take beyond their training and testing;
- the peak memory of each run of a worker, with either allocator;
- the whole of `experiment=gap_quick`: its wall seconds, and the computing seconds of its runs.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from longlag.commands.errors import errors_in_one_line
from longlag.files import write_text

TRAIN = Path(__file__).parents[1] / "train.py"
CELLS = ["model=lstm", "lag=100", "seed=range(8)", "max_steps=2400", "task.solved_at=null"]
TINY = ["model=lstm", "lag=10", "max_steps=1", "validation.sequences=16", "eval.sequences=16", "eval.lags=[10]"]
MIXED = ["model=lstm,transformer", "lag=1000,10", "max_steps=20", "eval.sequences=16", "validation.sequences=64"]
MANY = 9  # tiny runs in the measurement of the overhead
FIGURES = (
    *("seconds_of_a_run", "in_process_seconds", "processes_seconds"),
    *("processes_over_in_process", "fixed_seconds_of_a_run", "gap_quick_seconds", "gap_quick_computing_seconds"),
)


def seconds(*arguments: str) -> tuple[float, list[dict[str, Any]]]:
    """Wall seconds of a sweep, and its records."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(TRAIN), "-m", *arguments, "logger=csv", f"hydra.sweep.dir={folder}"]
        started = time.monotonic()
        subprocess.run(command, check=True, capture_output=True)
        wall = time.monotonic() - started
        return wall, [json.loads(path.read_text()) for path in Path(folder).glob("*/record.json")]


def side_by_side(pairs: int) -> dict[str, Any]:
    """Wall seconds of sweeps with both launchers, and the ratios of pairs."""
    alone, together = [], []
    for _ in range(pairs):
        wall, records = seconds(*CELLS)
        alone.append(wall)
        together.append(seconds(*CELLS, "hydra/launcher=processes")[0])
    return {
        "environment": records[0]["environment"],
        "runs": len(records),
        "seconds_of_a_run": statistics.median(record["cost"]["seconds"] for record in records),
        "in_process_seconds": alone,
        "processes_seconds": together,
        "processes_over_in_process": [ours / theirs for ours, theirs in zip(together, alone, strict=True)],
    }


def fixed_cost() -> float:
    """Overhead in seconds: the time that a later run of a worker takes beyond its training and testing."""
    launcher = ["hydra/launcher=processes", "hydra.launcher.workers=1"]
    # The difference between a sweep of MANY runs and a sweep of one cancels the start of the command and the worker.
    first, _ = seconds(*TINY, "seed=0", *launcher)
    all_of_them, records = seconds(*TINY, f"seed=range({MANY})", *launcher)
    busy = statistics.median(record["cost"]["seconds"] + record["cost"]["test_seconds"] for record in records)
    return (all_of_them - first) / (MANY - 1) - busy


def memory() -> dict[str, dict[str, float]]:
    """Peak resident memory of the worker during each run of one sweep, in MiB, by allocator and run."""
    launcher = ["hydra/launcher=processes", "hydra.launcher.workers=1"]
    found: dict[str, dict[str, float]] = {}
    for allocator in ("stock", "tuned"):
        _, records = seconds(*MIXED, *launcher, f"runtime.malloc={allocator}")
        found[allocator] = {
            f"{record['model']} lag {record['lag']}": round(record["cost"]["peak_memory_bytes"] / 2**20)
            for record in sorted(records, key=lambda record: (record["model"], record["lag"]))
        }
    return found


def gap_quick() -> dict[str, float]:
    """Wall seconds of the whole experiment, and the computing seconds of its runs, tests included."""
    wall, records = seconds("experiment=gap_quick")
    computing = sum(record["cost"]["computing_seconds"] + record["cost"]["test_seconds"] for record in records)
    return {"gap_quick_seconds": wall, "gap_quick_computing_seconds": computing}


def main() -> None:
    """Measure, print the table, and save the results if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--save", type=Path, help="write the results to this JSON file")
    parser.add_argument("--pairs", type=int, default=1, help="number of sweeps of each kind; the two kinds alternate")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    found = side_by_side(arguments.pairs) | {"fixed_seconds_of_a_run": fixed_cost()} | gap_quick()
    found["peak_memory_mib"] = memory()
    shown = Table(show_header=False, title=f"a sweep of {found['runs']} runs on {os.cpu_count()} cores")
    for name in FIGURES:
        numbers = found[name] if isinstance(found[name], list) else [found[name]]
        shown.add_row(name.replace("_", " "), "  ".join(f"{number:.2f}" for number in numbers))
    Console().print(shown)
    runs = list(found["peak_memory_mib"]["stock"])
    peaks = Table("allocator", *runs, title="peak memory of a worker during each run, MiB")
    for allocator, of_run in found["peak_memory_mib"].items():
        peaks.add_row(allocator, *(str(of_run[run]) for run in runs))
    Console().print(peaks)
    if arguments.save:
        command = f"python benchmarks/sweep.py --pairs {arguments.pairs}"
        write_text(arguments.save, json.dumps({"command": command, **found}, indent=1) + "\n")


if __name__ == "__main__":
    with errors_in_one_line():
        main()
