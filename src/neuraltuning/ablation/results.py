"""A run's result as a small JSON file: what was run, its scores, and each item's own score for comparisons in pairs.

Knows nothing of how a run is made, nor of the grid that asks for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from neuraltuning.errors import InputError
from neuraltuning.files import atomic_path

FORMAT = 1


@dataclass
class Result:
    """What came of a run.

    Attributes:
        name: the run's (`Run.name`).
        settings: all of them.
        validation_loss: the lowest of the last stage; what is chosen is chosen by it.
        trainable_parameters: "tuner" and "all".
        seconds: by part: start, training, scoring.
        machine: cores and threads, number format, versions.
        splits: split -> task -> {"scores", "teacher_forced" (absent without task tokens), "baselines", "items"}; items
            are {"ids": [...], "free": [each one's share], "teacher_forced": [...]}. Empty where the run was not scored.
    """

    name: str
    settings: Mapping[str, Any]
    validation_loss: float
    trainable_parameters: Mapping[str, int]
    seconds: dict[str, float]
    machine: Mapping[str, Any]
    splits: dict[str, dict[str, Any]] = field(default_factory=dict)


def write_result(folder: Path, result: Result) -> None:
    """Writes `folder/<name>.json`."""
    with atomic_path(folder / f"{result.name}.json") as temporary:
        temporary.write_text(json.dumps({"format": FORMAT, **asdict(result)}) + "\n", encoding="utf-8")


def read_result(folder: Path, name: str) -> Result | None:
    """The result of a run, None where it was not run yet.

    Raises:
        InputError: the file is damaged, or of another version of the program.
    """
    path = folder / f"{name}.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"The result {path} is damaged; delete it, and the run is made again.") from error
    version = data.pop("format", None) if isinstance(data, dict) else None
    if version != FORMAT:
        raise InputError(
            f"The result {path} has format {version}, this program reads format {FORMAT}: delete it, and the run is "
            "made again."
        )
    try:
        return Result(**data)
    except TypeError as error:
        raise InputError(f"The result {path} is damaged; delete it, and the run is made again.") from error
