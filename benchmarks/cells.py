"""Speed and memory of the native kernels beside torch's layers: python benchmarks/cells.py [--save FILE.json].

All implementations of a cell take turns, in float32 on one CPU thread; each allocator has a process of its own, and one
measures at a time. A comparison is the median of the ratios of CPU times from the same turn, because the times
themselves drift with the load of the machine. Beside each stands its multiple of the matrix products alone, the floor
for an implementation with these products. Peak memory is what one pass adds to the memory of a process of its own.

docs/performance.md is made of the JSON by `python tools/readme.py`.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from longlag.commands.errors import errors_in_one_line
from longlag.files import write_text
from longlag.measure.cost import environment, peak_memory_bytes, watch_memory
from longlag.models.gru_scratch import GRUScratch
from longlag.models.kernels.scan import scan, scan_reference
from longlag.models.lstm_scratch import LSTMScratch
from longlag.models.rnn_scratch import RNNScratch
from longlag.models.transformer import Transformer
from longlag.training import malloc

INPUT = 10  # width of the inputs
SIZES = ((8, 64), (32, 16), (32, 64), (32, 128), (128, 128))  # batch, hidden
SMALL, LARGE = (32, 64), (128, 128)
SHORT, LONG = 110, 1020  # time steps
PASSES = ("forward", "training")  # training: forward and backward
ALLOCATORS = ("stock", "tuned")
CHUNK = 16  # steps of one product for the gradient of the weights
Times = dict[tuple[str, str, str], list[tuple[float, float]]]  # model, pass, allocator: (CPU, wall) seconds by turn


class Products:
    """The matrix products of a cell and nothing else: [x_t, 1, h] W each step, dz U back, and those of the weights.

    They write into arrays that are there already.
    """

    def __init__(self, blocks: int, input_size: int, hidden: int):
        self.W = torch.randn(input_size + 1 + hidden, blocks * hidden)
        self.U = torch.randn(blocks * hidden, hidden)
        self.dW = torch.zeros_like(self.W)

    @lru_cache(maxsize=1)  # noqa: B019  (it lives as long as the process)
    def arrays(self, batch: int, time: int) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs (time, batch, 1 + …), sums (time, batch, blocks hidden) and the gradient of h."""
        inputs, sums = torch.randn(time, batch, len(self.W)), torch.empty(time, batch, len(self.U))
        return inputs, sums, torch.empty(batch, self.U.shape[1])

    def forward(self, x: Tensor) -> None:
        """The products of the forward pass."""
        inputs, sums, _ = self.arrays(len(x), x.shape[1])
        for row, out in zip(inputs.unbind(), sums.unbind(), strict=True):
            torch.mm(row, self.W, out=out)

    def training(self, x: Tensor, _: Tensor) -> None:
        """Those of the forward and of the backward pass."""
        self.forward(x)
        inputs, sums, dh = self.arrays(len(x), x.shape[1])
        for out in reversed(sums.unbind()):
            torch.mm(out, self.U, out=dh)
        for row, out in zip(inputs.split(CHUNK), sums.split(CHUNK), strict=True):
            self.dW.addmm_(row.flatten(0, 1).t(), out.flatten(0, 1))


class Module:
    """A module, run forward without a graph, or forward and backward."""

    def __init__(self, make: Callable[..., nn.Module], input_size: int, hidden: int):
        self.module = make(input_size, hidden)
        self.gradient = torch.empty(0)  # of the outputs, in their type

    def _outputs(self, x: Tensor) -> Tensor:
        found = self.module(x)
        return found if isinstance(found, Tensor) else found[0]

    @torch.no_grad()
    def forward(self, x: Tensor) -> None:
        """The forward pass alone."""
        self._outputs(x)

    def training(self, x: Tensor, gradient: Tensor) -> None:
        """The forward and the backward pass."""
        outputs = self._outputs(x)
        if self.gradient.shape != outputs.shape:  # in the first turn, which is not counted
            self.gradient = gradient.to(outputs.dtype)
        outputs.backward(self.gradient)


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


def _transformer(kernels: str, input_size: int, hidden: int) -> Transformer:
    core = Transformer(input_size, hidden)
    core.kernels = kernels
    return core


MODELS: dict[str, Callable[..., Any]] = {
    "LSTM products": partial(Products, 4),
    "nn.LSTM": partial(Module, partial(nn.LSTM, batch_first=True)),
    "nn.LSTMCell": partial(Module, CellLoop),
    "LSTM fused": partial(Module, partial(LSTMScratch, impl="fused")),
    "LSTM fused, memory=low": partial(Module, partial(LSTMScratch, impl="fused", memory="low")),
    "LSTM native": partial(Module, partial(LSTMScratch, impl="native")),
    "GRU products": partial(Products, 3),
    "nn.GRU": partial(Module, partial(nn.GRU, batch_first=True)),
    "GRU fused": partial(Module, partial(GRUScratch, impl="fused")),
    "GRU native": partial(Module, partial(GRUScratch, impl="native")),
    "RNN products": partial(Products, 1),
    "nn.RNN": partial(Module, partial(nn.RNN, batch_first=True)),
    "RNN fused": partial(Module, partial(RNNScratch, impl="fused")),
    "RNN native": partial(Module, partial(RNNScratch, impl="native")),
    "scan by autograd": partial(Module, partial(Scanned, scan_reference, torch.float32)),
    "scan native": partial(Module, partial(Scanned, scan, torch.float32)),
    "complex scan by autograd": partial(Module, partial(Scanned, scan_reference, torch.complex64)),
    "complex scan native": partial(Module, partial(Scanned, scan, torch.complex64)),
    "Transformer library": partial(Module, partial(_transformer, "library")),
    "Transformer native": partial(Module, partial(_transformer, "native")),
}
COMPARED = {  # what is compared with what
    "LSTM native": ("nn.LSTM", "nn.LSTMCell", "LSTM fused"),
    "LSTM fused": ("nn.LSTM", "nn.LSTMCell"),
    "LSTM fused, memory=low": ("LSTM fused",),
    "GRU native": ("nn.GRU", "GRU fused"),
    "GRU fused": ("nn.GRU",),
    "RNN native": ("nn.RNN", "RNN fused"),
    "RNN fused": ("nn.RNN",),
    "scan native": ("scan by autograd",),
    "complex scan native": ("complex scan by autograd",),
    "Transformer native": ("Transformer library",),
}
AT_ONE_SIZE = ("scan", "complex", "Transformer", "LSTM fused, memory=low")  # measured at SMALL and LONG only


class Bound(NamedTuple):
    """How many times as fast a model must be in training over LONG steps, and is to be: the floor and the aim."""

    size: tuple[int, int]
    model: str
    against: str
    floor: float
    aim: float | None
    allocators: tuple[str, ...] = ALLOCATORS


BOUNDS = [
    Bound(SMALL, "LSTM native", "nn.LSTM", 1.2, 1.5, ("tuned",)),
    Bound(LARGE, "LSTM native", "nn.LSTM", 1.1, 1.2, ("tuned",)),
    Bound(SMALL, "LSTM native", "LSTM fused", 1.8, 2.4),
    Bound(SMALL, "GRU native", "nn.GRU", 3.0, 4.5),
    Bound(SMALL, "RNN native", "nn.RNN", 3.0, 5.0),
    Bound(SMALL, "scan native", "scan by autograd", 3.0, 6.0),
    Bound(SMALL, "complex scan native", "complex scan by autograd", 3.0, 6.0),
    Bound(SMALL, "Transformer native", "Transformer library", 1.2, None),
    Bound(SMALL, "LSTM fused", "nn.LSTM", 1.1, 1.4, ("stock",)),
    Bound(LARGE, "LSTM fused", "nn.LSTM", 1.1, 1.4, ("stock",)),
    Bound(SMALL, "LSTM fused", "nn.LSTM", 0.7, 0.95, ("tuned",)),
    Bound(LARGE, "LSTM fused", "nn.LSTM", 0.85, 0.95, ("tuned",)),
    Bound(SMALL, "LSTM fused", "nn.LSTMCell", 2.2, 3.0),
    Bound(SMALL, "GRU fused", "nn.GRU", 1.0, 2.0),
    Bound(SMALL, "RNN fused", "nn.RNN", 1.0, 2.0),
    Bound(SMALL, "LSTM fused, memory=low", "LSTM fused", 1 / 1.35, None),
]
MEMORY = [  # size, model, the largest share of nn.LSTM's peak memory, and the share to be reached
    (size, model, floor, aim)
    for size in (SMALL, LARGE)
    for model, floor, aim in (
        ("LSTM native", 0.6, 0.5),
        ("LSTM fused", 0.6, 0.5),
        ("LSTM fused, memory=low", 0.4, 0.3),
    )
]


def turns(size: tuple[int, int], length: int) -> int:
    """How often each is measured: more often where it is quick."""
    return 21 if length == SHORT else 7 if size == LARGE else 11


def wanted(size: tuple[int, int], length: int) -> list[str]:
    """The models that are measured at a size and a length."""
    one = size == SMALL and length == LONG
    return [name for name in MODELS if one or not name.startswith(AT_ONE_SIZE)]


@lru_cache(maxsize=32)
def made(model: str, hidden: int) -> Any:
    """The model."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return MODELS[model](INPUT, hidden)


@lru_cache(maxsize=2)
def data(batch: int, hidden: int, length: int) -> tuple[Tensor, Tensor]:
    """The inputs (batch, time, input) and the gradient of the outputs (batch, time, hidden)."""
    return torch.randn(batch, length, INPUT), torch.randn(batch, length, hidden)


def seconds(model: str, what: str, batch: int, hidden: int, length: int) -> tuple[float, float]:
    """CPU and wall seconds of one pass."""
    one, (x, gradient) = made(model, hidden), data(batch, hidden, length)
    given = (x,) if what == "forward" else (x, gradient)
    cpu, wall = time.process_time(), time.perf_counter()
    getattr(one, what)(*given)
    return time.process_time() - cpu, time.perf_counter() - wall


def peak_bytes(model: str, batch: int, hidden: int) -> int:
    """Bytes that one forward and backward pass adds to the peak memory of the process."""
    one, (x, gradient) = made(model, hidden), data(batch, hidden, LONG)
    one.training(x[:1, :8], gradient[:1, :8])  # a short pass first, in which libraries allocate their own memory
    watch_memory(torch.device("cpu"))
    before = peak_memory_bytes(torch.device("cpu"))
    one.training(x, gradient)
    return peak_memory_bytes(torch.device("cpu")) - before


def process(allocator: str) -> ProcessPoolExecutor:
    """A worker process that measures with the given allocator."""
    return ProcessPoolExecutor(1, get_context("spawn"), initializer=malloc.use, initargs=(allocator,))


def all_seconds(size: tuple[int, int], length: int) -> Times:
    """The seconds of all models, one value per turn; the first turn is a warm-up and not counted."""
    found: Times = {
        (model, what, which): [] for model in wanted(size, length) for what in PASSES for which in ALLOCATORS
    }
    with process("stock") as stock, process("tuned") as tuned:
        pools = {"stock": stock, "tuned": tuned}
        for turn in track(
            range(1 + turns(size, length)), f"{size[0]} x {size[1]}, {length} steps", console=Console(stderr=True)
        ):
            for (model, what, which), taken in found.items():
                took = pools[which].submit(seconds, model, what, *size, length).result()
                if turn:
                    taken.append(took)
    return found


def spread(values: list[float]) -> dict[str, float]:
    """Median, minimum and maximum, with four digits."""
    three = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: float(f"{value:.4g}") for name, value in three.items()}


def ratios(over: list[tuple[float, float]], under: list[tuple[float, float]]) -> dict[str, float]:
    """How many times as much CPU time one takes as the other, turn by turn."""
    return spread([a[0] / b[0] for a, b in zip(over, under, strict=True)])


def rows(size: tuple[int, int], length: int, times: Times) -> Iterator[dict[str, Any]]:
    """The times of each model, and the comparisons, as entries of the JSON file."""
    place: dict[str, Any] = {"batch": size[0], "hidden": size[1], "time": length}
    for (model, what, which), taken in times.items():
        row = place | {"allocator": which, "pass": what, "model": model}
        row |= {
            "cpu_ms": spread([1000 * cpu for cpu, _ in taken]),
            "wall_ms": spread([1000 * wall for _, wall in taken]),
        }
        products = times.get((f"{model.removeprefix('nn.').split()[0].removesuffix('Cell')} products", what, which))
        if products:
            row["over_products"] = ratios(taken, products)
        row["turns"] = len(taken)
        others = [other for other in COMPARED.get(model, ()) if (other, what, which) in times]
        row["times_as_fast"] = {other: ratios(times[other, what, which], taken) for other in others}
        yield row


def bound(one: Bound, allocator: str, times: dict[Any, Times]) -> dict[str, Any]:
    """A floor and an aim beside what was measured."""
    found = times[one.size, LONG]
    reached = ratios(found[one.against, "training", allocator], found[one.model, "training", allocator])
    place = {"batch": one.size[0], "hidden": one.size[1], "time": LONG, "allocator": allocator}
    return place | {
        "model": one.model,
        "against": one.against,
        "times_as_fast": reached,
        "floor": one.floor,
        "aim": one.aim,
    }


def memory(size: tuple[int, int], model: str, floor: float, aim: float) -> dict[str, Any]:
    """Peak memory of a model in bytes, and its share of that of nn.LSTM."""
    found = []
    for name in (model, "nn.LSTM"):
        with process("stock") as alone:
            found.append(alone.submit(peak_bytes, name, *size).result())
    place = {"batch": size[0], "hidden": size[1], "time": LONG, "model": model, "against": "nn.LSTM"}
    return place | {"bytes": found[0], "share": float(f"{found[0] / found[1]:.3g}"), "floor": floor, "aim": aim}


def measured(lengths: tuple[int, ...] = (LONG, SHORT)) -> dict[str, list[dict[str, Any]]]:
    """All times, the floors and aims beside what was reached, and peak memory."""
    times = {(size, length): all_seconds(size, length) for size in SIZES for length in lengths}
    bounds = [bound(one, which, times) for one in BOUNDS for which in one.allocators]
    cells = [row for (size, length), found in times.items() for row in rows(size, length, found)]
    return {"bounds": bounds, "memory": [memory(*one) for one in MEMORY], "cells": cells}


def as_text(result: dict[str, Any]) -> str:
    """JSON with a line for each row."""
    parts = [
        f"[\n  {(',' + chr(10) + '  ').join(map(json.dumps, value))}\n ]"
        if isinstance(value, list)
        else json.dumps(value)
        for value in result.values()
    ]
    return "{\n" + ",\n".join(f" {json.dumps(key)}: {part}" for key, part in zip(result, parts, strict=True)) + "\n}\n"


def main() -> None:
    """Measure, print what was reached beside the floors and aims, and save the results if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--save", type=Path, help="write the results to this JSON file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    result = measured()
    console = Console(width=200, highlight=False)
    for row in [*result["bounds"], *result["memory"]]:
        console.print("  ".join(f"{key}={value}" for key, value in row.items()))
    if arguments.save:
        about = {"command": "python benchmarks/cells.py --save docs/benchmarks/cells.json", "input": INPUT}
        about |= {"environment": {**environment(torch.device("cpu"), "stock and tuned"), "threads": 1}}
        write_text(arguments.save, as_text(about | result))


if __name__ == "__main__":
    with errors_in_one_line():
        main()
