"""What both pretrainings share: the line that tells how long it takes, and checkpoints to go on from."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import torch

from neuraltuning.errors import InputError
from neuraltuning.files import atomic_path


class Progress:
    """One line on standard error: what is done, some values, the time left."""

    def __init__(self, title: str, total: int, done: int = 0) -> None:
        self.title, self.total, self.first = title, total, done
        self.start = time.monotonic()

    def show(self, done: int, **values: float) -> None:
        """Prints the state after `done` of `total` steps."""
        left = (time.monotonic() - self.start) / max(1, done - self.first) * (self.total - done)
        texts = "".join(f"  {name} {value:.4g}" for name, value in values.items())
        print(f"{self.title} {done}/{self.total}{texts}  {left / 60:.1f} min left", file=sys.stderr, flush=True)


def save_checkpoint(path: Path, **state: Any) -> None:
    """Writes state dicts, tensors and numbers, and the random state, atomically."""
    with atomic_path(path) as temporary:
        torch.save({**state, "random": torch.get_rng_state()}, temporary)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """What `save_checkpoint` wrote, with the random state put back; None where there is no file.

    Raises:
        InputError: the file is damaged.
    """
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        torch.set_rng_state(state.pop("random"))
    except Exception as error:
        raise InputError(f"The checkpoint {path} can't be read ({error}); delete it to start anew.") from error
    return state
