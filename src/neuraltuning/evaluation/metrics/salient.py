"""Salient-object scores of soft masks: maximum F-beta, pixel accuracy, mean IoU and cIoU (DUT-OMRON, DUTS, ECSSD).

    scores = SaliencyScores()
    scores.add(probabilities, true_mask)              # (H, W) in 0..1, (H, W) of 0 and 1
    scores.compute()                                  # {"max_f_beta": ..., "pixel_accuracy": ..., "miou": ...}

- `max_f_beta` (Achanta et al. 2009; Borji et al. 2015): precision and recall of each image at 256 thresholds
  (foreground where 255 p >= t, rounded as in an 8-bit picture) are averaged over images, then F with beta^2 = 0.3 is
  taken at each threshold, then the maximum. Its interval repeats all of that, the choice of the threshold included.
- The others binarize at 0.5. `miou` is the mean over images, which the literature reports; `ciou`, sum over sum, is
  what u-LLaVA reports.

True masks of these data sets are grey pictures: foreground is above 127, not only 255.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from neuraltuning.errors import InputError
from neuraltuning.evaluation.metrics.interval import Floats, ItemStatistics, divide

BETA_SQUARED = 0.3
LEVELS = 256
_PRECISIONS = tuple(f"precision{level}" for level in range(LEVELS))
_RECALLS = tuple(f"recall{level}" for level in range(LEVELS))
_COLUMNS = (*_PRECISIONS, *_RECALLS, "right", "pixels", "iou", "intersection", "union", "items")


class SaliencyScores:
    """Streaming, mergeable saliency scores; keeps 518 numbers an image."""

    def __init__(self) -> None:
        self._items = ItemStatistics(_COLUMNS)

    def __len__(self) -> int:
        return len(self._items)

    def add(self, probabilities: ArrayLike, true: ArrayLike) -> dict[str, float]:
        """Takes in one image's soft mask and its truth; returns the `iou` at 0.5.

        Raises:
            InputError: the sizes differ, a probability is outside 0..1 or NaN, or the truth isn't 0 and 1.
        """
        try:
            soft, target = np.asarray(probabilities, dtype=np.float64), np.asarray(true, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise InputError("A soft mask and its truth are numbers of the shape (H, W).") from error
        if soft.ndim != 2 or soft.shape != target.shape:
            raise InputError(f"A soft mask has the shape {soft.shape}, its truth {target.shape}: both must be (H, W).")
        if not ((soft >= 0) & (soft <= 1)).all():
            raise InputError("A soft mask holds NaN or values outside 0..1.")
        if not ((target == 0) | (target == 1)).all():
            raise InputError("A true mask holds NaN or more than 0 and 1: compare its picture with > 127 first.")
        truth = target.astype(bool)
        levels = np.rint(soft * (LEVELS - 1)).astype(np.int64)
        # Pixels at or above each level: cumulative histograms from the top.
        above = np.bincount(levels.ravel(), minlength=LEVELS)[::-1].cumsum()[::-1]
        hits = np.bincount(levels[truth], minlength=LEVELS)[::-1].cumsum()[::-1]
        precision = hits / np.maximum(above, 1)
        recall = hits / max(int(truth.sum()), 1)

        found = soft >= 0.5
        intersection, union = int((found & truth).sum()), int((found | truth).sum())
        iou = intersection / union if union else 1.0
        row = dict(zip(_PRECISIONS, precision.tolist(), strict=True)) | dict(
            zip(_RECALLS, recall.tolist(), strict=True)
        )
        row |= {"right": float((found == truth).sum()), "pixels": float(truth.size), "iou": iou}
        self._items.append({**row, "intersection": intersection, "union": union, "items": 1.0})
        return {"iou": iou}

    def merge(self, other: SaliencyScores) -> None:
        """Takes in everything that `other` collected."""
        self._items.extend(other._items)

    def compute(self) -> dict[str, Any]:
        """`max_f_beta`, `pixel_accuracy`, `miou` and `ciou` in 0..1 with intervals, and `n` images."""
        ratio = self._items.ratio
        scores = {
            "max_f_beta": _max_f_beta,
            "pixel_accuracy": ratio("right", "pixels"),
            "miou": ratio("iou", "items"),
            "ciou": ratio("intersection", "union"),
        }
        return {**self._items.scores(scores), "n": len(self)}


def _max_f_beta(sums: Floats) -> Floats:
    count = sums[:, -1:]
    precision, recall = divide(sums[:, :LEVELS], count), divide(sums[:, LEVELS : 2 * LEVELS], count)
    f_beta = divide((1.0 + BETA_SQUARED) * precision * recall, BETA_SQUARED * precision + recall)
    undefined = np.isnan(count[:, 0]) | (count[:, 0] == 0)
    return np.where(undefined, np.nan, np.nan_to_num(f_beta).max(axis=1))
