from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from neuraltuning.memory import keep_freed_memory, keep_memory_steady

PROGRAM = """
import sys
from neuraltuning.memory import keep_freed_memory

if sys.argv[1] == "keep":
    keep_freed_memory()
block = bytearray(b"x") * (200 << 20)
del block
pages = int(open("/proc/self/statm").read().split()[1])
print(pages * 4096 >> 20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no mallopt")
def test_freed_memory_stays_in_the_process() -> None:
    resident = {
        way: int(
            subprocess.run([sys.executable, "-c", PROGRAM, way], capture_output=True, text=True, check=True).stdout
        )
        for way in ("keep", "give")
    }
    assert resident["give"] < 150 < 200 <= resident["keep"]


HEAPS = """
import ctypes, sys, threading
from neuraltuning.memory import keep_memory_steady

if sys.argv[1] == "steady":
    keep_memory_steady()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
together = threading.Barrier(8)

def allocate():
    libc.malloc(1000)
    together.wait()

threads = [threading.Thread(target=allocate) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no mallopt")
def test_a_servers_threads_share_a_few_heaps() -> None:
    heaps = {
        way: subprocess.run(
            [sys.executable, "-c", HEAPS, way], capture_output=True, text=True, check=True
        ).stdout.count("<heap nr=")
        for way in ("steady", "as usual")
    }
    assert heaps["steady"] <= 2 < heaps["as usual"]


HOLES = """
import sys, time
from neuraltuning import memory

memory.TRIM_SECONDS = 0.01
if sys.argv[1] == "steady":
    memory.keep_memory_steady()
blocks = [bytearray(b"x") * (64 << 10) for _ in range(3200)]
del blocks[::2], blocks[:-1]
time.sleep(0.5)
pages = int(open("/proc/self/statm").read().split()[1])
print(pages * 4096 >> 20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no malloc_trim")
def test_a_server_gives_back_what_is_free_below_what_is_used() -> None:
    resident = {
        way: int(subprocess.run([sys.executable, "-c", HOLES, way], capture_output=True, text=True, check=True).stdout)
        for way in ("steady", "as usual")
    }
    assert resident["steady"] < 100 < 200 <= resident["as usual"]


def test_what_is_set_for_a_server_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        malloc_trim = staticmethod(lambda pad: None)
        mallopt = staticmethod(lambda *arguments: pytest.fail("sets an option"))

    monkeypatch.setattr("ctypes.CDLL", lambda name: Library)
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "7")
    monkeypatch.setenv("MALLOC_ARENA_MAX", "5")
    keep_memory_steady()
    assert os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "7"


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_elsewhere_nothing_happens(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr("ctypes.CDLL", lambda *arguments: pytest.fail("loads a library"))
    keep_freed_memory()
