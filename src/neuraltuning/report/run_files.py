"""Reads what training and evaluation left in a run's folder: scores, the training log and the showcase.

Files are checked here and nowhere else; the rest of the report works on the objects below. Knows nothing of HTML.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neuraltuning.errors import InputError


@dataclass(frozen=True)
class Mask:
    """One mask of a reply or of the truth: its COCO RLE, and what the reply calls it."""

    rle: Mapping[str, Any]
    phrase: str = ""
    score: float | None = None


@dataclass(frozen=True)
class ShowcaseItem:
    """One example with its reply, as `showcase/<split>/<task>/<k>.json` holds it; pictures as paths."""

    id: str
    kind: str
    prompt: str
    reply: str
    reference: str
    scores: Mapping[str, float]
    masks: tuple[Mask, ...]
    target_masks: tuple[Mask, ...]
    image: Path | None
    generated: tuple[Path, ...]
    target_image: Path | None
    success: bool


@dataclass(frozen=True)
class Run:
    """Everything that the report shows.

    Attributes:
        name: the folder's name.
        splits: split -> task -> scores, from metrics.json.
        details: what else metrics.json holds: seconds, config, model, versions.
        log: records of training_log.jsonl in order; empty without one.
        showcase: split -> task -> items; empty without one.
    """

    name: str
    splits: Mapping[str, Mapping[str, Mapping[str, Any]]]
    details: Mapping[str, Any]
    log: tuple[Mapping[str, Any], ...] = ()
    showcase: Mapping[str, Mapping[str, tuple[ShowcaseItem, ...]]] = field(default_factory=dict)


def read_run(run_dir: Path) -> Run:
    """Reads a run's folder.

    Raises:
        InputError: there is no metrics.json, or a file isn't what it should be; the sentence names it.
    """
    if not run_dir.is_dir():
        raise InputError(f"There is no run folder {run_dir}.")
    path = run_dir / "metrics.json"
    if not path.is_file():
        raise InputError(f"There is no {path} to report: run `neuraltuning evaluate {run_dir}` first.")
    metrics = _read_json(path)
    splits = metrics.get("splits")
    if not isinstance(splits, dict) or not all(
        isinstance(tasks, dict) and all(isinstance(scores, dict) for scores in tasks.values())
        for tasks in splits.values()
    ):
        raise InputError(f"{path} holds no scores: `splits` must map each split to its tasks and their scores.")
    return Run(
        name=run_dir.resolve().name,
        splits=splits,
        details={key: value for key, value in metrics.items() if key != "splits"},
        log=_read_log(run_dir / "training_log.jsonl"),
        showcase=_read_showcase(run_dir / "showcase"),
    )


def number(value: Any) -> float | None:
    """`value` as a finite number, else None (scores may be null where something is missing)."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} can't be read as JSON ({error}): evaluate the model again.") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} must hold a JSON object, not a {type(value).__name__}: evaluate the model again.")
    return value


def _read_log(path: Path) -> tuple[Mapping[str, Any], ...]:
    if not path.is_file():
        return ()
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    records: list[Mapping[str, Any]] = []
    for place, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            if place == len(lines):
                break  # training was interrupted while it wrote this line
            raise InputError(f"Line {place} of {path} isn't JSON ({error}): remove the line or the file.") from error
        if not isinstance(record, dict):
            raise InputError(f"Line {place} of {path} isn't a JSON object: remove the line or the file.")
        records.append(record)
    return tuple(records)


def _read_showcase(folder: Path) -> dict[str, dict[str, tuple[ShowcaseItem, ...]]]:
    if not folder.is_dir():
        return {}
    return {
        split.name: {task.name: _read_items(task) for task in sorted(split.iterdir()) if task.is_dir()}
        for split in sorted(folder.iterdir())
        if split.is_dir()
    }


def _read_items(folder: Path) -> tuple[ShowcaseItem, ...]:
    paths = sorted(folder.glob("*.json"), key=lambda path: (len(path.stem), path.stem))
    return tuple(_read_item(path) for path in paths)


def _read_item(path: Path) -> ShowcaseItem:
    record = _read_json(path)

    def picture(name: Any) -> Path | None:
        if not name:
            return None
        if not isinstance(name, str) or Path(name).name != name:
            raise InputError(f"{path} names the picture {name!r}: pictures lie beside it, give the file's name alone.")
        return path.parent / name

    def masks(field_name: str) -> tuple[Mask, ...]:
        found = []
        for mask in record.get(field_name) or ():
            # Truths are bare RLEs, a reply's masks carry their phrase and score beside it.
            rle = mask.get("rle", mask) if isinstance(mask, dict) else None
            if not isinstance(rle, dict) or not {"size", "counts"} <= rle.keys():
                raise InputError(f"{path} has a mask in `{field_name}` that is no COCO RLE with `size` and `counts`.")
            found.append(Mask(rle, str(mask.get("phrase") or ""), number(mask.get("score"))))
        return tuple(found)

    scores = record.get("scores") or {}
    return ShowcaseItem(
        id=str(record.get("id", path.stem)),
        kind=str(record.get("kind") or ""),
        prompt=str(record.get("prompt") or ""),
        reply=str(record.get("reply") or ""),
        reference=str(record.get("reference") or ""),
        scores={str(name): value for name, raw in scores.items() if (value := number(raw)) is not None},
        masks=masks("masks"),
        target_masks=masks("target_masks"),
        image=picture(record.get("image")),
        generated=tuple(p for name in record.get("generated") or () if (p := picture(name)) is not None),
        target_image=picture(record.get("target_image")),
        success=record.get("verdict") == "success",
    )
