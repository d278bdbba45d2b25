"""Box scores for grounding: Prec@0.5 and mean IoU of one box a phrase (referring expression comprehension).

    scores = BoxScores()
    scores.add((x, y, width, height), (x, y, width, height))
    scores.compute()                                  # {"prec@0.5": ..., "prec@0.5_ci95": [...], "box_miou": ...}

Boxes are x, y, width, height in pixels (COCO), continuous: no "+ 1" anywhere; `corners_box` makes them of corners. An
IoU of exactly 0.5 counts as found; `strict=True` is for codes whose comparison is `>`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from neuraltuning.errors import InputError
from neuraltuning.evaluation.metrics.interval import ItemStatistics

if TYPE_CHECKING:
    from neuraltuning.reply import Reply
    from neuraltuning.tasks.base import Example

Box = Sequence[float]


class BoxScores:
    """Streaming, mergeable box scores.

    Args:
        strict: an IoU of exactly 0.5 does not count.
    """

    def __init__(self, *, strict: bool = False) -> None:
        self.strict = strict
        self._items = ItemStatistics(("found", "iou", "items"))

    def __len__(self) -> int:
        return len(self._items)

    def add(self, predicted: Box | None, true: Box) -> dict[str, float]:
        """Takes in one phrase's box; a missing one (None) has IoU 0. Returns the `iou`.

        Raises:
            InputError: a box isn't four finite numbers, or its width or height is negative.
        """
        iou = 0.0 if predicted is None else box_iou(predicted, true)
        _check(true)
        found = iou > 0.5 if self.strict else iou >= 0.5
        self._items.append({"found": float(found), "iou": iou, "items": 1.0})
        return {"iou": iou}

    def merge(self, other: BoxScores) -> None:
        """Takes in everything that `other` collected."""
        self._items.extend(other._items)

    def compute(self) -> dict[str, Any]:
        """`prec@0.5` and `box_miou` in 0..1 with intervals, and `n` phrases."""
        mean = self._items.ratio
        scores = {"prec@0.5": mean("found", "items"), "box_miou": mean("iou", "items")}
        return {**self._items.scores(scores), "n": len(self)}


class BoxMetric:
    """Scores the boxes of replies: the i-th mask's box against the i-th target box of one task token.

    A missing box scores 0; surplus ones are ignored, since the protocol asks for one box a phrase.

    Args:
        token: the task token whose targets are boxes.
    """

    def __init__(self, token: str = "<OBJ>") -> None:
        self.token = token
        self._scores = BoxScores()

    def update(self, example: Example, reply: Reply) -> dict[str, float]:
        """Takes in one reply; `iou` is the mean over its targets."""
        targets, boxes = example.targets.get(self.token, ()), reply.boxes
        if not targets:
            raise InputError(f"{example.id} has no target box for {self.token}.")
        try:
            ious = [self._scores.add(boxes[i] if i < len(boxes) else None, box)["iou"] for i, box in enumerate(targets)]
        except InputError as error:
            raise InputError(f"{example.id}: {error}") from error
        return {"iou": float(np.mean(ious))}

    def merge(self, other: BoxMetric) -> None:
        self._scores.merge(other._scores)

    def compute(self) -> dict[str, Any]:
        """`BoxScores.compute`."""
        return self._scores.compute()


def corners_box(left: float, top: float, right: float, bottom: float) -> tuple[float, float, float, float]:
    """The box x, y, width, height between two corners x1, y1, x2, y2 in continuous coordinates: no pixel is added."""
    return left, top, right - left, bottom - top


def box_iou(first: Box, second: Box) -> float:
    """IoU of two boxes (x, y, width, height); 0 where both have no area."""
    ax, ay, aw, ah = _check(first)
    bx, by, bw, bh = _check(second)
    width = max(0.0, min(ax + aw, bx + bw) - max(ax, bx))
    height = max(0.0, min(ay + ah, by + bh) - max(ay, by))
    shared = width * height
    union = aw * ah + bw * bh - shared
    return shared / union if union > 0 else 0.0


def _check(box: Box) -> tuple[float, float, float, float]:
    try:
        values = np.asarray(box, dtype=np.float64)
    except (TypeError, ValueError):
        values = np.zeros(0)
    if values.shape != (4,) or not np.isfinite(values).all() or (values[2:] < 0).any():
        raise InputError(f"A box is x, y, width and height, finite and not negative in size; got {box!r}.")
    x, y, width, height = (float(value) for value in values)
    return x, y, width, height
