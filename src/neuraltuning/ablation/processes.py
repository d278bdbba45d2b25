"""Several processes at work on one grid, each with its share of the cores, or a GPU of its own.

Each runs this very command; what is under way is locked (`schedule.py`), so that they divide the runs among themselves.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from neuraltuning.errors import RunError


def side_by_side(count: int, arguments: Sequence[str]) -> None:
    """Runs `neuraltuning` with `arguments` in `count` processes and waits for them.

    Raises:
        RunError: one of them failed; the others have finished what they could.
    """
    import torch

    gpus = torch.cuda.device_count()
    threads = max(1, (os.cpu_count() or 1) // count)
    processes = []
    try:
        for place in range(count):
            environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
            if gpus:
                environment["CUDA_VISIBLE_DEVICES"] = str(place % gpus)
            command = [sys.executable, "-m", "neuraltuning", *arguments]
            processes.append(subprocess.Popen(command, env=environment))
        codes = [process.wait() for process in processes]
    except BaseException:
        for process in processes:  # Ctrl-C reaches them by itself; they write their checkpoints
            process.wait()
        raise
    if failed := [code for code in codes if code]:
        raise RunError(
            f"{len(failed)} of {count} processes failed; run the same command again with --jobs 1 to see what is wrong."
        )
