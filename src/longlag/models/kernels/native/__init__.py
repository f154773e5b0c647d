"""The loops of the recurrent cells in C, built at first use (`build.py`). Importing this package needs no torch."""

import ctypes
import logging
from functools import cache

from longlag.models.kernels.native import bind, build

log = logging.getLogger(__name__)


@cache
def kernels() -> ctypes.CDLL | None:
    """The library for float32; None if there is none on this machine, which is logged once."""
    try:
        return bind.load(build.library())
    except (build.Unavailable, OSError, AttributeError) as error:
        log.warning("No native kernels: %s. The recurrent cores run without them, which is slower.", error)
        return None
