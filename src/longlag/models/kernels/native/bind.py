"""The C functions of the kernels as Python sees them. Needs no torch."""

import ctypes
from pathlib import Path
from typing import Any

CELLS = ("lstm", "lstm_1997", "lstm_peephole", "gru", "rnn", "rnn_relu")
SCANS = ("scan", "scan_complex")
N, P = ctypes.c_int64, ctypes.c_void_p  # a number; the address of an array
SIGNATURES = {  # in the order of cell.h, scan.c, vector.c and weights.c
    "pack": [N, N, P, P, P],
    "forward": [N, N, N, N, P, N, N, N, P, P, P, P, N, P, N],
    "backward": [N, N, N, P, N, N, P, P, P, P, P, P, P, P],
    "scan_forward": [N, N, N, P, N, N, P, N, N, P, P],
    "scan_backward": [N, N, N, N, P, N, N, P, P, P, N, N, P, P, P],
    "array": [N, P, P],
    "add_products": [N, N, N, P, N, P, N, P, N],
}


class Heads(ctypes.Structure):
    """Where the heads of q, k, v or of a gradient are: `heads` in attention.c. The strides count numbers."""

    _fields_ = (("address", P), ("batch", N), ("head", N), ("time", N))


def load(path: Path) -> ctypes.CDLL:
    """Load a library and declare its functions, so that ctypes converts and checks their arguments.

    Raises:
        OSError: if the file cannot be loaded.
        AttributeError: if it lacks a function.
    """
    library = ctypes.CDLL(str(path))
    library.lanes.restype = library.size_of_real.restype = N
    declared = {f"{cell}_{part}": SIGNATURES[part] for cell in CELLS for part in ("pack", "forward", "backward")}
    declared |= {f"{scan}_{part}": SIGNATURES[f"scan_{part}"] for scan in SCANS for part in ("forward", "backward")}
    declared |= {f"{name}_array": SIGNATURES["array"] for name in ("sigmoid", "tanh")}
    declared["add_products"] = SIGNATURES["add_products"]
    real: Any = ctypes.c_double if library.size_of_real() == 8 else ctypes.c_float
    of_heads = [N, N, N, N, N, real, ctypes.POINTER(Heads)]
    declared |= {"attention_forward": [*of_heads, P, P, P], "attention_backward": [*of_heads, P, P, P, P, P, P]}
    library.attention_space.argtypes, library.attention_space.restype = [N, N], N
    for name, arguments in declared.items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, None
    return library


def padded(library: ctypes.CDLL, hidden: int) -> int:
    """The hidden size rounded up to whole vectors: the width of the kernels' arrays."""
    lanes = library.lanes()
    return -(-hidden // lanes) * lanes
