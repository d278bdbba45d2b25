"""Ctrl-C as one sentence on the command line that says how to go on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from neuraltuning.errors import NeuralTuningError


class Interrupted(NeuralTuningError):
    """The user pressed Ctrl-C (exit status 128 + SIGINT, as shells count it)."""

    exit_code = 130


@contextlib.contextmanager
def interruptible(hint: str) -> Iterator[None]:
    """Turns Ctrl-C inside the block into `Interrupted`; `hint` says what was kept and what to do next."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"Interrupted. {hint}") from None
