"""The native kernels for the tests that need exact numbers."""

import ctypes
import shutil

import pytest
import torch

from longlag.models import scratch
from longlag.models.kernels import native, scan
from longlag.models.kernels.native import bind, build, cells


@pytest.fixture(scope="session")
def double_kernels() -> ctypes.CDLL:
    """The kernels compiled for float64."""
    if not shutil.which("cc"):
        pytest.skip("there is no C compiler, cc")
    return bind.load(build.library("-DLONGLAG_DOUBLE"))


@pytest.fixture
def kernels_in_double(double_kernels: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the native kernels run in float64 and complex128, and in no other type."""
    for user in (scratch, scan, native):
        monkeypatch.setattr(user, "kernels", lambda: double_kernels)
    monkeypatch.setattr(cells, "DTYPE", torch.float64)
