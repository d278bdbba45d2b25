"""What a process does with memory: training keeps what it frees, a server stays steady. Knows nothing of networks."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import cast

# Of glibc's mallopt (malloc.h): give back what is free at the top of the heap beyond so many bytes; allocate so many
# blocks at most by mapping them, each of which goes back when it is freed; have so many heaps at most.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
_NEVER = 2**31 - 1

KERNELS = 32
"""That oneDNN keeps in a server: a step's products have seven shapes."""
HEAPS = 2
"""Of a server's threads together."""
TRIM_SECONDS = 5.0
"""Between two times that a server gives back what is free within its heaps."""


def keep_freed_memory() -> None:
    """Has the C library keep what is freed for the next allocation, where it is glibc; elsewhere nothing happens.

    A training step frees hundreds of megabytes and allocates them again. By default large blocks go back to the system
    in between, and each of their pages costs a fault when it is touched again: on a virtual machine more than the
    arithmetic on it (docs/training.md). For a process of one's own, not for a library's import.
    """
    mallopt = _of_glibc("mallopt")
    mallopt(_TRIM_THRESHOLD, _NEVER)
    mallopt(_MMAP_MAX, 0)


def keep_memory_steady() -> None:
    """Has a process that answers requests of all sizes for weeks not grow by what its libraries set aside for each.

    oneDNN keeps a compiled kernel for each of the last 1,024 shapes of a product, and every prompt's length is another
    one; those of the running batch's steps are a few. glibc gives threads heaps of their own, each of which keeps what
    it once held, and gives back by itself only what is free at its end; a thread of ours sees to the rest every few
    seconds. An environment variable of either's that is set stays as it is. For a process of one's own.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(KERNELS))
    if "MALLOC_ARENA_MAX" not in os.environ:
        _of_glibc("mallopt")(_ARENA_MAX, HEAPS)
    threading.Thread(target=_trim, name="memory", daemon=True).start()


def _trim() -> None:
    malloc_trim = _of_glibc("malloc_trim")
    while True:
        time.sleep(TRIM_SECONDS)
        malloc_trim(0)


def _of_glibc(name: str) -> Callable[..., object]:
    """A function of its memory allocation; elsewhere one that does nothing."""
    if sys.platform.startswith("linux"):
        try:
            return cast(Callable[..., object], getattr(ctypes.CDLL(None), name))
        except (OSError, AttributeError):
            pass
    return lambda *arguments: None
