"""The files that analyses leave in a run's folder: where they lie, in which version, and how they are read.

Knows no content but the version, and loads nothing that analyses need.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuraltuning.errors import InputError

FOLDER = "analysis"
"""Where results lie in a run's folder."""


@dataclass(frozen=True)
class ResultFile:
    """One kind of result.

    Attributes:
        command: `neuraltuning analyse COMMAND` writes it.
        path: of its JSON file in `FOLDER`; pictures lie beside it.
        version: of its form, which stands in it as `format_version`.
    """

    command: str
    path: str
    version: int

    def in_run(self, run: Path) -> Path:
        """The file of a run."""
        return run / FOLDER / self.path


NEURONS = ResultFile("neurons", "neurons.json", 1)
ATTENTION = ResultFile("attention", "attention/attention.json", 1)
COST = ResultFile("cost", "cost.json", 1)


def read_result(run: Path, kind: ResultFile) -> dict[str, Any] | None:
    """What an analysis found, None where the run has none.

    Raises:
        InputError: the file is no JSON object, or of another version.
    """
    path = kind.in_run(run)
    if not path.is_file():
        return None
    again = f"run `neuraltuning analyse {kind.command} {run}` again"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} can't be read as JSON ({error}): {again}.") from error
    version = found.get("format_version") if isinstance(found, dict) else None
    if version != kind.version:
        raise InputError(f"{path} has format version {version}, and this program reads {kind.version}: {again}.")
    return dict(found)
