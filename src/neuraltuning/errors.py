"""The two errors a user can meet, each carrying one sentence that says what was wrong, where, and what to do.

The command line prints the sentence and exits with `exit_code`; library callers catch them as ordinary exceptions.
"""

from __future__ import annotations


class NeuralTuningError(Exception):
    """Base of the errors that carry a sentence for the user.

    Attributes:
        exit_code: the process exit status that the command line uses for this error.
    """

    exit_code: int = 1


class InputError(NeuralTuningError, ValueError):
    """The user's input or configuration is unusable; nothing was run (exit status 2)."""

    exit_code = 2


class RunError(NeuralTuningError, RuntimeError):
    """Work started and could not be finished (exit status 1)."""

    exit_code = 1
