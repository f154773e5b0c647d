"""Tries a library of the kernels against the equations in plain Python.

`build.py` runs this, as python -m longlag.models.kernels.native.check FILE, in a process of its own before a library is
used: what was compiled wrongly, or for another processor, ends that process and no other. The sizes are small, but with
a part of a tile and of a vector in each direction.
"""

import ctypes
import math
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from longlag.models.kernels.native.bind import SCANS, Heads, load, padded

TIME, BATCH, WIDTH = 3, 5, 2
NUDGE, CLOSE = 1e-5, 1e-4
Numbers = list[float]
Unit = tuple[float, float]  # h_t and C_t of one unit


def sigmoid(z: float) -> float:
    """The logistic function."""
    return 1 / (1 + math.exp(-z))


def lstm(z: Numbers, h: float, C: float, p: Numbers) -> Unit:
    """One unit of `lstm_scratch.py`."""
    o, i, f, g = sigmoid(z[0]), sigmoid(z[1]), sigmoid(z[2]), math.tanh(z[3])
    return o * math.tanh(f * C + i * g), f * C + i * g


def lstm_1997(z: Numbers, h: float, C: float, p: Numbers) -> Unit:
    """One unit of `lstm_1997.py`; C stands for C / 2, and z[2] for half of the sum."""
    D = C + sigmoid(z[1]) * math.tanh(z[2])
    return sigmoid(z[0]) * math.tanh(D), D


def lstm_peephole(z: Numbers, h: float, C: float, p: Numbers) -> Unit:
    """One unit of `lstm_peephole.py`."""
    C_t = sigmoid(z[2] + p[1] * C) * C + sigmoid(z[1] + p[0] * C) * math.tanh(z[3])
    return sigmoid(z[0] + p[2] * C_t) * math.tanh(C_t), C_t


def gru(z: Numbers, h: float, C: float, p: Numbers) -> Unit:
    """One unit of `gru_scratch.py`; z holds n, r, z, q."""
    n, update = math.tanh(z[0] + sigmoid(z[1]) * z[3]), sigmoid(z[2])
    return (1 - update) * n + update * h, 0.0


class Cell(NamedTuple):
    """A cell: the blocks of its sums, the first that takes h, whether it has a C, and its equations."""

    blocks: int
    from_h: int
    has_memory: bool
    unit: Callable[[Numbers, float, float, Numbers], Unit]


CELLS = {
    "lstm": Cell(4, 0, True, lstm),
    "lstm_1997": Cell(3, 0, True, lstm_1997),
    "lstm_peephole": Cell(4, 0, True, lstm_peephole),
    "gru": Cell(4, 1, False, gru),
    "rnn": Cell(1, 0, False, lambda z, h, C, p: (math.tanh(z[0]), 0.0)),
    "rnn_relu": Cell(1, 0, False, lambda z, h, C, p: (max(z[0], 0.0), 0.0)),
}


class Case:
    """A cell with random weights, inputs, states and incoming gradients. Arrays are lists of rows, all of one length.

    `packed` has a row [W, b, U] for each block and unit, with zeros where a block takes no x or no h.
    """

    def __init__(self, cell: Cell, hidden: int, random: Random):
        def rows(number: int, width: int = hidden) -> list[Numbers]:
            return [[random.uniform(-1, 1) for _ in range(width)] for _ in range(number)]

        self.cell, self.hidden = cell, hidden
        self.packed = rows(cell.blocks * hidden, WIDTH + 1 + hidden)
        for number, row in enumerate(self.packed):
            block = number // hidden
            row[:WIDTH] = [0.0] * WIDTH if block >= cell.blocks - cell.from_h else row[:WIDTH]
            row[WIDTH + 1 :] = [0.0] * hidden if block < cell.from_h else [w / 4 for w in row[WIDTH + 1 :]]
        self.x, self.d_out = rows(TIME * BATCH, WIDTH), rows(TIME * BATCH)
        self.h, self.C, self.dh, self.dC, self.p = rows(BATCH), rows(BATCH), rows(BATCH), rows(BATCH), rows(3)
        # A direction in which the loss changes: of h_0, of C_0 and of the biases.
        self.to_h, self.to_C, self.to_b = rows(BATCH), rows(BATCH), rows(cell.blocks)

    def run(self, nudge: float = 0.0) -> tuple[list[Numbers], list[Numbers]]:
        """All h_t and C_t, (steps and sequences, hidden) each, from the states and biases moved by a nudge."""
        units = range(self.hidden)
        hs = [[v + nudge * d for v, d in zip(*pair, strict=True)] for pair in zip(self.h, self.to_h, strict=True)]
        Cs = [[v + nudge * d for v, d in zip(*pair, strict=True)] for pair in zip(self.C, self.to_C, strict=True)]
        for k in range(TIME * BATCH):
            inputs = [*self.x[k], 1.0, *hs[k]]
            sums = [
                [sum(map(float.__mul__, self.packed[b * self.hidden + u], inputs)) + nudge * self.to_b[b][u]
                 for b in range(self.cell.blocks)]
                for u in units
            ]  # fmt: skip
            after = [self.cell.unit(sums[u], hs[k][u], Cs[k][u], [row[u] for row in self.p]) for u in units]
            hs.append([h for h, _ in after])
            Cs.append([C for _, C in after])
        return hs, Cs

    def loss(self, nudge: float) -> float:
        """The loss whose gradients by h_t and by the last state are the incoming ones."""
        hs, Cs = self.run(nudge)
        return product(hs[BATCH:], self.d_out) + product(hs[-BATCH:], self.dh) + product(Cs[-BATCH:], self.dC)


def product(these: list[Numbers], those: list[Numbers]) -> float:
    """The sum of the products of all numbers."""
    return sum(a * b for one, other in zip(these, those, strict=True) for a, b in zip(one, other, strict=True))


class Tried:
    """A library under test, with its arrays: rows are padded with zeros to whole vectors."""

    def __init__(self, library: ctypes.CDLL):
        self.library = library
        self.real: Any = ctypes.c_double if library.size_of_real() == 8 else ctypes.c_float

    def array(self, numbers: Iterable[float]) -> Any:
        """The numbers as an array of C."""
        values = list(numbers)
        return (self.real * len(values))(*values)

    def zeros(self, *sizes: int) -> Any:
        """An array of zeros."""
        return (self.real * math.prod(sizes))()

    def wide(self, rows: list[Numbers], width: int) -> Any:
        """Rows in whole vectors."""
        return self.array(v for row in rows for v in [*row, *[0.0] * (width - len(row))])

    def narrow(self, array: Any, width: int, hidden: int) -> list[Numbers]:
        """The rows of an array, without what stands beyond the hidden size."""
        return [list(array[k : k + hidden]) for k in range(0, len(array), width)]

    def functions(self) -> None:
        """Compare sigmoid and tanh with the mathematical library's, from tiny to saturated arguments."""
        sizes = [0.0, 1e-30, 1e-8, 1e-3, 0.1, 0.3, 0.5, 0.7, 1.0, 2.0, 5.0, 9.0, 15.0, 40.0]
        x = [sign * size for size in sizes for sign in (1, -1)]
        x += [0.0] * (padded(self.library, len(x)) - len(x))
        for name, function in (("sigmoid", sigmoid), ("tanh", math.tanh)):
            y = self.zeros(len(x))
            getattr(self.library, f"{name}_array")(len(x) // self.library.lanes(), self.array(x), y)
            for given, found in zip(x, y, strict=True):
                if not abs(found - function(given)) <= 1e-6 * abs(function(given)):
                    raise AssertionError(f"{name}({given}) = {found}")

    def cell(self, name: str, case: Case) -> None:
        """Compare h, C and the gradients with the equations."""
        cell, H = case.cell, case.hidden
        P, takers = padded(self.library, H), cell.blocks - cell.from_h
        weights, U = self.zeros(cell.blocks + takers * (WIDTH + H), P), self.zeros(takers * H, P)
        getattr(self.library, f"{name}_pack")(WIDTH, H, self.wide(case.packed, WIDTH + 1 + H), weights, U)
        h, C = (self.array([*self.wide(rows, P), *[0.0] * (TIME * BATCH * P)]) for rows in (case.h, case.C))
        gates, dz = self.zeros(TIME, BATCH, cell.blocks, P), self.zeros(TIME, BATCH, cell.blocks, P)
        p, dh, dC = self.wide(case.p, P), self.wide(case.dh, P), self.wide(case.dC, P)
        getattr(self.library, f"{name}_forward")(
            TIME, BATCH, WIDTH, H, self.wide(case.x, WIDTH), BATCH * WIDTH, WIDTH, 1, weights, p, h, C, BATCH * P,
            gates, BATCH * cell.blocks * P,
        )  # fmt: skip
        getattr(self.library, f"{name}_backward")(
            TIME, BATCH, H, self.wide(case.d_out, P), BATCH * P, P, h, C, gates, p, U, dz, dh, dC
        )
        for found, true in zip((h, C), case.run(), strict=True):
            if found is h or cell.has_memory:
                compare(name, self.narrow(found, P, H), true)
        slope = (case.loss(NUDGE) - case.loss(-NUDGE)) / (2 * NUDGE)
        given = product(self.narrow(dh, P, H), case.to_h) + product(self.narrow(dz, P, H), case.to_b * TIME * BATCH)
        given += product(self.narrow(dC, P, H), case.to_C) if cell.has_memory else 0.0
        compare(f"{name}, gradient", [[given]], [[slope]])

    def products(self, random: Random) -> None:
        """Compare the sum of products of the weights' gradient."""
        rows, K, N = 70, 5, 5 * self.library.lanes()
        A, Z = ([[random.uniform(-1, 1) for _ in range(n)] for _ in range(rows)] for n in (K, N))
        total = self.zeros(K, N)
        self.library.add_products(rows, K, N, self.wide(A, K), K, self.wide(Z, N), N, total, N)
        true = [[sum(A[r][k] * Z[r][n] for r in range(rows)) for n in range(N)] for k in range(K)]
        compare("the products", self.narrow(total, N, N), true)

    def scan(self, name: str, random: Random) -> None:
        """Compare a scan and its gradients with the recurrence, with a of each step and with one of all steps."""
        H, imaginary = self.library.lanes() + 3, name == "scan_complex"

        def rows(number: int) -> list[list[complex]]:
            draw = partial(random.uniform, -1, 1)
            return [[complex(draw(), draw() * imaginary) for _ in range(H)] for _ in range(number)]

        def put(rows: list[list[complex]]) -> Any:
            return self.array(v for row in rows for c in row for v in ((c.real, c.imag) if imaginary else (c.real,)))

        h_0, a, b, d_out = rows(1), rows(TIME), rows(TIME), rows(TIME)  # of one sequence
        width = 2 * H if imaginary else H
        for constant in (0, 1):
            a_t = [a[0]] * TIME if constant else a
            states = list(h_0)
            for t in range(TIME):
                states.append([a_t[t][u] * states[t][u] + b[t][u] for u in range(H)])
            d, carry, by_a = list(d_out), [0j] * H, [[0j] * H for _ in range(TIME)]
            for t in reversed(range(TIME)):
                d[t] = [d_out[t][u] + carry[u] for u in range(H)]
                by_a[t] = [d[t][u] * states[t][u].conjugate() for u in range(H)]
                carry = [a_t[t][u].conjugate() * d[t][u] for u in range(H)]
            by_a = [[sum(column) for column in zip(*by_a, strict=True)]] if constant else by_a
            h, da, db, dh_0 = (self.zeros(n, width) for n in (TIME, len(by_a), TIME, 1))
            strides, given = (0, 0 if constant else H), (put(a), put(h_0))
            getattr(self.library, f"{name}_forward")(1, TIME, H, given[0], *strides, put(b), 0, H, given[1], h)
            getattr(self.library, f"{name}_backward")(
                1, TIME, H, constant, given[0], *strides, given[1], h, put(d_out), 0, H, da, db, dh_0
            )
            for found, true in ((h, states[1:]), (da, by_a), (db, d), (dh_0, [carry])):
                compare(name, [list(found)], [list(put(true))])

    def attention(self, random: Random) -> None:
        """Compare attention and its gradients, for two heads of which each call computes one."""
        T, D, heads = 2 * self.library.lanes() + 5, self.library.lanes() + 3, 2  # with a part of a tile at each end
        q, k, v, d_out = (
            [[[random.uniform(-1, 1) for _ in range(D)] for _ in range(T)] for _ in range(heads)] for _ in range(4)
        )
        given = [self.array(x for head in each for row in head for x in row) for each in (q, k, v, d_out)]
        places = (Heads * 4)(*(Heads(ctypes.addressof(each), heads * T * D, T * D, D) for each in given))
        out, stats = self.zeros(T, heads, D), self.zeros(heads, T, 2)
        found, space = [self.zeros(heads, T, D) for _ in given[:3]], self.zeros(self.library.attention_space(T, D))
        for head in range(heads):
            self.library.attention_forward(head, head + 1, heads, T, D, D**-0.5, places, out, stats, space)
            self.library.attention_backward(head, head + 1, heads, T, D, D**-0.5, places, out, stats, *found, space)
        for head in range(heads):
            o, *gradients = attended(q[head], k[head], v[head], d_out[head])
            compare("attention", self.narrow(out, D, D)[head::heads], o)
            for name, array, true in zip("qkv", found, gradients, strict=True):
                compare(f"attention, gradient of {name}", self.narrow(array, D, D)[head * T : (head + 1) * T], true)


def attended(q: list[Numbers], k: list[Numbers], v: list[Numbers], d_out: list[Numbers]) -> list[list[Numbers]]:
    """Causal attention of one head, and the gradients by q, k and v."""
    scale, width = len(q[0]) ** -0.5, len(q[0])
    out: list[Numbers] = []
    dq, dk, dv = ([[0.0] * width for _ in q] for _ in range(3))
    for t, row in enumerate(q):
        shares = [math.exp(scale * sum(map(float.__mul__, row, k[s]))) for s in range(t + 1)]
        shares = [share / sum(shares) for share in shares]
        out.append([sum(p * v[s][u] for s, p in enumerate(shares)) for u in range(width)])
        by_p = [sum(map(float.__mul__, d_out[t], v[s])) for s in range(t + 1)]
        mean = sum(map(float.__mul__, shares, by_p))
        for s, p in enumerate(shares):
            slope = scale * p * (by_p[s] - mean)
            for u in range(width):
                dq[t][u] += slope * k[s][u]
                dk[s][u] += slope * row[u]
                dv[s][u] += p * d_out[t][u]
    return [out, dq, dk, dv]


def compare(name: str, found: list[Numbers], true: list[Numbers]) -> None:
    """Raise AssertionError if a number differs, or is not one."""
    for row, true_row in zip(found, true, strict=True):
        for value, expected in zip(row, true_row, strict=True):
            if not abs(value - expected) <= CLOSE * (1 + abs(expected)):
                raise AssertionError(f"{name}: {value} is not {expected}")


def main(path: str) -> None:
    """Try everything.

    Raises:
        OSError, AttributeError: if the library cannot be loaded.
        AssertionError: if a result is wrong.
    """
    library, random = load(Path(path)), Random(0)
    tried = Tried(library)
    tried.functions()
    tried.products(random)
    for name, cell in CELLS.items():
        tried.cell(name, Case(cell, library.lanes() + 3, random))
    for name in SCANS:
        tried.scan(name, random)
    tried.attention(random)


if __name__ == "__main__":
    main(sys.argv[1])
