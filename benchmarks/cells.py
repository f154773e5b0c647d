"""Speed and memory of the from-scratch cells relative to torch's: python benchmarks/cells.py [--save FILE.json].

One measurement is a forward and a backward pass over 1020 time steps, in float32 on one CPU thread. Each allocator has
its own process, in which all models take turns. The result is the median of the ratios of times from the same turn,
because the times themselves drift with the load of the machine. Peak memory is what one pass adds to the memory of the
process; each model is measured in a process of its own.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from longlag.commands.errors import errors_in_one_line
from longlag.files import write_text
from longlag.measure.cost import environment, peak_memory_bytes, watch_memory
from longlag.models.gru_scratch import GRUScratch
from longlag.models.kernels.scan import scan, scan_reference
from longlag.models.lstm_scratch import LSTMScratch
from longlag.models.rnn_scratch import RNNScratch
from longlag.training import malloc

TIME, INPUT = 1020, 10  # time steps of a sequence, width of the inputs
SMALL, LARGE = (32, 64), (128, 128)  # batch, hidden
REPETITIONS = {SMALL: 9, LARGE: 5}  # counted turns
ALLOCATORS = ("stock", "tuned")


class Ratio(NamedTuple):
    """A comparison of two models: the ratio of their speeds, or of their peak memories.

    Attributes:
        size: batch size and hidden size.
        model, against: names in MODELS; `against` is the reference.
        floor, aim: by allocator, the ratio that is required and the ratio that is aimed at.
    """

    size: tuple[int, int]
    model: str
    against: str
    floor: dict[str, float] = {}  # noqa: RUF012  (never written to)
    aim: dict[str, float] = {}  # noqa: RUF012


SPEED = [
    Ratio(SMALL, "lstm_scratch", "nn.LSTM", {"stock": 1.1, "tuned": 0.7}, {"stock": 1.4, "tuned": 0.95}),
    Ratio(LARGE, "lstm_scratch", "nn.LSTM", {"stock": 1.1, "tuned": 0.85}, {"stock": 1.4, "tuned": 0.95}),
    Ratio(SMALL, "lstm_scratch", "nn.LSTMCell", dict.fromkeys(ALLOCATORS, 2.2), dict.fromkeys(ALLOCATORS, 3.0)),
    Ratio(SMALL, "gru_scratch", "nn.GRU", dict.fromkeys(ALLOCATORS, 1.0), dict.fromkeys(ALLOCATORS, 2.0)),
    Ratio(SMALL, "rnn_scratch", "nn.RNN", dict.fromkeys(ALLOCATORS, 1.0), dict.fromkeys(ALLOCATORS, 2.0)),
    Ratio(SMALL, "lstm_scratch native", "nn.LSTM", {"tuned": 1.2}, {"tuned": 1.5}),
    Ratio(LARGE, "lstm_scratch native", "nn.LSTM", {"tuned": 1.1}, {"tuned": 1.2}),
    Ratio(SMALL, "lstm_scratch native", "lstm_scratch", dict.fromkeys(ALLOCATORS, 1.8), dict.fromkeys(ALLOCATORS, 2.4)),
    Ratio(SMALL, "gru_scratch native", "nn.GRU", dict.fromkeys(ALLOCATORS, 3.0), dict.fromkeys(ALLOCATORS, 4.5)),
    Ratio(SMALL, "rnn_scratch native", "nn.RNN", dict.fromkeys(ALLOCATORS, 3.0), dict.fromkeys(ALLOCATORS, 5.0)),
    Ratio(SMALL, "scan", "scan by autograd", dict.fromkeys(ALLOCATORS, 3.0), dict.fromkeys(ALLOCATORS, 6.0)),
    Ratio(
        SMALL,
        "complex scan",
        "complex scan by autograd",
        dict.fromkeys(ALLOCATORS, 3.0),
        dict.fromkeys(ALLOCATORS, 6.0),
    ),
    Ratio(SMALL, "lstm_scratch low", "lstm_scratch", dict.fromkeys(ALLOCATORS, 1 / 1.35)),
    Ratio(LARGE, "lstm_scratch low", "lstm_scratch", dict.fromkeys(ALLOCATORS, 1 / 1.35)),
]
MEMORY = [
    Ratio(size, model, "nn.LSTM", {"stock": floor}, {"stock": aim})
    for size in (SMALL, LARGE)
    for model, floor, aim in (("lstm_scratch", 0.6, 0.5), ("lstm_scratch low", 0.4, 0.3))
]


class CellLoop(nn.LSTMCell):
    """`nn.LSTMCell` in a Python loop over the time steps, the straightforward way to write an LSTM."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """(batch, time, input) -> (batch, time, hidden)."""
        state, outputs = None, []
        for x_t in x.unbind(1):
            state = super().forward(x_t, state)
            outputs.append(state[0])
        return torch.stack(outputs, dim=1)


class Scanned(nn.Module):
    """A scan of given a and b, which want a gradient; the input gives nothing but the sizes."""

    def __init__(self, run: Callable[..., Tensor], dtype: torch.dtype, input_size: int, hidden: int):
        super().__init__()
        self.run, self.like = run, torch.empty(hidden, dtype=dtype)
        self.given: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """(batch, time, input) -> (batch, time, hidden)."""
        if self.given is None or self.given[0].shape[:2] != x.shape[:2]:
            size = (*x.shape[:2], len(self.like))
            a, b = (torch.randn(size, dtype=self.like.dtype) for _ in range(2))
            self.given = (a / (1 + a.abs())).requires_grad_(), b.requires_grad_()
        for tensor in self.given:
            tensor.grad = None
        return self.run(*self.given)


MODELS: dict[str, Callable[..., nn.Module]] = {
    "nn.LSTM": partial(nn.LSTM, batch_first=True),
    "nn.GRU": partial(nn.GRU, batch_first=True),
    "nn.RNN": partial(nn.RNN, batch_first=True),
    "nn.LSTMCell": CellLoop,
    "lstm_scratch": partial(LSTMScratch, impl="fused"),
    "lstm_scratch low": partial(LSTMScratch, impl="fused", memory="low"),
    "lstm_scratch native": partial(LSTMScratch, impl="native"),
    "gru_scratch": partial(GRUScratch, impl="fused"),
    "gru_scratch native": partial(GRUScratch, impl="native"),
    "rnn_scratch": partial(RNNScratch, impl="fused"),
    "rnn_scratch native": partial(RNNScratch, impl="native"),
    "scan": partial(Scanned, scan, torch.float32),
    "scan by autograd": partial(Scanned, scan_reference, torch.float32),
    "complex scan": partial(Scanned, scan, torch.complex64),
    "complex scan by autograd": partial(Scanned, scan_reference, torch.complex64),
}


@cache
def made(model: str, batch: int, hidden: int) -> tuple[nn.Module, Tensor, Tensor]:
    """The model, its input (batch, time, input) and the gradient of its outputs (batch, time, hidden)."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return MODELS[model](INPUT, hidden), torch.randn(batch, TIME, INPUT), torch.randn(batch, TIME, hidden)


def seconds(model: str, batch: int, hidden: int) -> float:
    """Wall seconds of one forward and backward pass."""
    core, x, gradient = made(model, batch, hidden)
    started = time.perf_counter()
    outputs = core(x)
    outputs = outputs if isinstance(outputs, Tensor) else outputs[0]
    outputs.backward(gradient.to(outputs.dtype))
    return time.perf_counter() - started


def peak_bytes(model: str, batch: int, hidden: int) -> int:
    """Bytes that one forward and backward pass adds to the peak memory of the process."""
    core, x, _ = made(model, batch, hidden)
    outputs = core(x[:1, :8])  # a short pass first, in which libraries allocate their own memory
    (outputs if isinstance(outputs, Tensor) else outputs[0]).sum().backward()
    watch_memory(torch.device("cpu"))
    before = peak_memory_bytes(torch.device("cpu"))
    seconds(model, batch, hidden)
    return peak_memory_bytes(torch.device("cpu")) - before


def process(allocator: str) -> ProcessPoolExecutor:
    """A worker process that measures with the given allocator."""
    return ProcessPoolExecutor(1, get_context("spawn"), initializer=malloc.use, initargs=(allocator,))


def all_seconds(size: tuple[int, int]) -> dict[tuple[str, str], list[float]]:
    """Seconds of each model with each allocator, one value per turn; the first turn is a warm-up and not counted."""
    wanted = sorted({name for ratio in SPEED if ratio.size == size for name in (ratio.model, ratio.against)})
    found: dict[tuple[str, str], list[float]] = {(name, which): [] for name in wanted for which in ALLOCATORS}
    with process("stock") as stock, process("tuned") as tuned:
        for turn in range(1 + REPETITIONS[size]):
            for (name, which), times in found.items():
                took = {"stock": stock, "tuned": tuned}[which].submit(seconds, name, *size).result()
                if turn:
                    times.append(took)
    return found


def spread(over: list[float], under: list[float]) -> dict[str, float]:
    """Median, minimum and maximum of the ratios `over / under`."""
    ratios = [a / b for a, b in zip(over, under, strict=True)]
    return {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}


def row(ratio: Ratio, allocator: str, **found: Any) -> dict[str, Any]:
    """One comparison as an entry of the JSON file."""
    named = {"batch": ratio.size[0], "hidden": ratio.size[1], "allocator": allocator, "model": ratio.model}
    bounds = {"floor": ratio.floor.get(allocator), "aim": ratio.aim.get(allocator)}
    return named | {"against": ratio.against} | found | bounds


def measured() -> dict[str, list[dict[str, Any]]]:
    """All comparisons: speed, the speed-up by the tuned allocator, and peak memory."""
    times = {size: all_seconds(size) for size in REPETITIONS}
    speed = [
        row(
            ratio,
            which,
            ms=1000 * statistics.median(times[ratio.size][ratio.model, which]),
            times_as_fast=spread(times[ratio.size][ratio.against, which], times[ratio.size][ratio.model, which]),
        )
        for ratio in SPEED
        for which in ALLOCATORS
    ]
    tuned = [
        {"batch": size[0], "hidden": size[1], "model": name, "times_as_fast": spread(taken, found[name, "tuned"])}
        for size, found in times.items()
        for (name, which), taken in found.items()
        if which == "stock"
    ]
    return {"speed": speed, "tuned_allocator": tuned, "memory": [memory(ratio) for ratio in MEMORY]}


def memory(ratio: Ratio) -> dict[str, Any]:
    """Peak memory of a model in bytes, and its ratio to that of the reference model."""
    found = []
    for name in (ratio.model, ratio.against):
        with process("stock") as alone:
            found.append(alone.submit(peak_bytes, name, *ratio.size).result())
    return row(ratio, "stock", bytes=found[0], share=found[0] / found[1])


def show(result: dict[str, list[dict[str, Any]]]) -> None:
    """Print the results as tables."""
    for title, rows in result.items():
        columns = [name for name in rows[0] if name not in ("bytes", "floor", "aim")]
        table = Table(*columns, "floor", "aim", title=title.replace("_", " "))
        for found in rows:
            table.add_row(*(in_words(found.get(name)) for name in (*columns, "floor", "aim")))
        Console(width=None if sys.stdout.isatty() else 140).print(table)


def in_words(value: Any) -> str:
    """A value as the text of a table entry."""
    if isinstance(value, dict):
        return f"{value['median']:.2f}  ({value['min']:.2f} to {value['max']:.2f})"
    return "" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def main() -> None:
    """Measure, print the tables, and save the results if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--save", type=Path, help="write the results to this JSON file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    result = measured()
    show(result)
    if arguments.save:
        about = {"command": "python benchmarks/cells.py", "time": TIME, "input": INPUT}
        about |= {"environment": environment(torch.device("cpu"), malloc.in_use())}
        write_text(arguments.save, json.dumps(about | result, indent=1) + "\n")


if __name__ == "__main__":
    with errors_in_one_line():
        main()
