"""Keeping freed memory: what training on a CPU allocates and frees again in each step. Knows nothing of networks."""

from __future__ import annotations

import ctypes
import sys

# Of glibc's mallopt (malloc.h): give back what is free at the top of the heap beyond so many bytes; allocate so many
# blocks at most by mapping them, each of which goes back when it is freed.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_NEVER = 2**31 - 1


def keep_freed_memory() -> None:
    """Has the C library keep what is freed for the next allocation, where it is glibc; elsewhere nothing happens.

    A training step frees hundreds of megabytes and allocates them again. By default large blocks go back to the system
    in between, and each of their pages costs a fault when it is touched again: on a virtual machine more than the
    arithmetic on it (docs/training.md). For a process of one's own, not for a library's import.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_TRIM_THRESHOLD, _NEVER)
    mallopt(_MMAP_MAX, 0)
