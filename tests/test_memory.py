from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from neuraltuning.memory import keep_freed_memory

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


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_elsewhere_nothing_happens(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr("ctypes.CDLL", lambda *arguments: pytest.fail("loads a library"))
    keep_freed_memory()
