"""Segmentation scores: oIoU (also called cIoU), mIoU, gIoU, Prec@0.5-0.9, N-acc, T-acc and GRES's cIoU.

`SegmentationScores` takes masks as arrays, `SegmentationMetric` takes (example, reply) pairs. An item is one reply;
it may hold several masks. The i-th predicted mask is compared with the i-th target; a missing one scores 0 (its
target's area goes into the union) and a surplus one is a false positive (its area goes into the union, its IoU is 0).
The `matched` scores pair them regardless of their order instead, so that the sum of IoUs is largest (as PixelLM does).

    scores = SegmentationScores()
    scores.add(predicted_mask, true_mask)        # (H, W), or (N, H, W) for several objects
    scores.compute()                             # {"oiou": ..., "oiou_ci95": [...], "miou": ..., "n": ...}

Definitions: oIoU and Prec@X as in RefCOCO's literature (Yu et al. 2016; LAVT, `>=` at the threshold); gIoU, N-acc and
T-acc as in GRES (Liu et al. 2023, section 3.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

from neuraltuning.errors import InputError
from neuraltuning.evaluation.metrics.interval import ItemStatistics, Score

if TYPE_CHECKING:
    from neuraltuning.reply import Reply
    from neuraltuning.tasks.base import Example

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
_PRECISIONS = tuple(f"prec@{threshold}" for threshold in THRESHOLDS)
_COLUMNS = (
    "intersection",  # pixels, over the item's masks
    "union",
    "iou",  # sum over the item's masks
    *_PRECISIONS,  # masks that reach the threshold
    "masks",  # pairs + missing + surplus
    "giou",
    "right_count",
    "empty",  # 1 where nothing is to be segmented
    "empty_recognized",
    "full",
    "full_recognized",
    "items",
    "united_intersection",  # pixels, of the item's masks united
    "united_union",
    "matched_intersection",  # as the first three, with masks paired regardless of their order
    "matched_union",
    "matched_iou",
)


class SegmentationScores:
    """Streaming, mergeable segmentation scores of plain arrays; keeps a row of 22 numbers an item."""

    def __init__(self) -> None:
        self._items = ItemStatistics(_COLUMNS)

    def __len__(self) -> int:
        return len(self._items)

    def add(
        self, predicted: ArrayLike | Sequence[ArrayLike], true: ArrayLike | Sequence[ArrayLike], ignored: Any = None
    ) -> dict[str, float]:
        """Takes in one item.

        Args:
            predicted: (H, W) or (N, H, W) masks of 0 and 1 (bool, integer or float).
            true: (H, W) or (M, H, W) masks at the same size; N may differ from M.
            ignored: (H, W) mask of pixels that count nowhere (ReasonSeg's "ignore").

        Returns:
            `iou`, the mean over the item's masks, and `giou`, of the united masks.

        Raises:
            InputError: the sizes differ, or a mask holds NaN or anything but 0 and 1.
        """
        predictions, targets = _masks(predicted, "predicted"), _masks(true, "true")
        if len(predictions) and len(targets) and predictions.shape[1:] != targets.shape[1:]:
            raise InputError(
                f"A predicted mask is {predictions.shape[1]}x{predictions.shape[2]} pixels (height x width) and its "
                f"true mask {targets.shape[1]}x{targets.shape[2]}: resize the prediction to the image's own size."
            )
        if ignored is not None:
            counted = ~_masks(ignored, "ignored")
            size = (predictions if len(predictions) else targets).shape[1:]
            any_mask = len(predictions) + len(targets) > 0
            if len(counted) != 1 or (any_mask and counted.shape[1:] != size):
                raise InputError(
                    f"The ignored pixels have the shape {np.shape(ignored)}, but the masks {size[0]}x{size[1]} pixels "
                    "(height x width): give one mask at the image's own size."
                )
            predictions = predictions & counted if len(predictions) else predictions
            targets = targets & counted if len(targets) else targets
        row = _statistics(predictions, targets)
        self._items.append(row)
        return {"iou": row["iou"] / row["masks"] if row["masks"] else row["giou"], "giou": row["giou"]}

    def merge(self, other: SegmentationScores) -> None:
        """Takes in everything that `other` collected."""
        self._items.extend(other._items)

    def compute(self) -> dict[str, Any]:
        """All scores in 0..1 with intervals, `n` items and `n_masks` masks (pairs, missing and surplus).

        `n_acc` (empty targets left empty), `t_acc` (targets not left empty) and `united_oiou` (GRES's cIoU: the masks
        of a reply united, and those of its targets) appear where empty targets occur.
        """
        mean = self._items.ratio
        functions: dict[str, Score] = {"oiou": mean("intersection", "union"), "miou": mean("iou", "masks")}
        functions |= {name: mean(name, "masks") for name in _PRECISIONS}
        functions |= {"giou": mean("giou", "items"), "mask_count_accuracy": mean("right_count", "items")}
        functions |= {
            "matched_oiou": mean("matched_intersection", "matched_union"),
            "matched_miou": mean("matched_iou", "masks"),
        }
        if self._items.total("empty"):
            functions |= {
                "n_acc": mean("empty_recognized", "empty"),
                "t_acc": mean("full_recognized", "full"),
                "united_oiou": mean("united_intersection", "united_union"),
            }
        return {**self._items.scores(functions), "n": len(self._items), "n_masks": int(self._items.total("masks"))}


class SegmentationMetric:
    """Scores the masks of freely generated (or teacher-forced) replies against the targets of one task token.

    Args:
        token: the task token whose targets are (height, width) bool masks.
    """

    def __init__(self, token: str = "<OBJ>") -> None:
        self.token = token
        self._all = SegmentationScores()
        self._by_kind: dict[str, SegmentationScores] = {}

    def update(self, example: Example, reply: Reply) -> dict[str, float]:
        """Takes in one reply; returns the mean `iou` over its masks, missing and surplus ones counted 0."""
        targets = example.targets.get(self.token, ())
        ignored = None if example.sample is None else example.sample.ignored
        try:
            values = self._all.add(reply.masks, targets, ignored)
        except InputError as error:
            raise InputError(f"{example.id}: {error}") from error
        if example.kind:
            self._by_kind.setdefault(example.kind, SegmentationScores()).add(reply.masks, targets, ignored)
        return {"iou": values["iou"]}

    def merge(self, other: SegmentationMetric) -> None:
        self._all.merge(other._all)
        for kind, scores in other._by_kind.items():
            self._by_kind.setdefault(kind, SegmentationScores()).merge(scores)

    def compute(self) -> dict[str, Any]:
        """`SegmentationScores.compute`, and under `by_kind` the main ones for each kind of example."""
        main = ("oiou", "miou", "prec@0.5", "matched_oiou", "n_acc")
        shown = (*(key for name in main for key in (name, f"{name}_ci95")), "n", "n_masks")
        kinds = {kind: self._by_kind[kind].compute() for kind in sorted(self._by_kind)}
        by_kind = {kind: {name: scores[name] for name in shown if name in scores} for kind, scores in kinds.items()}
        return {**self._all.compute(), **({"by_kind": by_kind} if by_kind else {})}


def mask_iou(predicted: ArrayLike, true: ArrayLike) -> float:
    """IoU of two (H, W) masks; 1 where both are empty."""
    return SegmentationScores().add(predicted, true)["iou"]


def _masks(masks: Any, name: str) -> NDArray[np.bool_]:
    """(N, H, W) bool from one mask or several; (0, 0, 0) from none."""
    try:
        array = np.asarray(masks)
    except ValueError as error:
        raise InputError(f"The {name} masks of one item have different sizes: give all at the image's size.") from error
    if array.size == 0:
        return np.zeros((0, 0, 0), dtype=bool)
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3:
        raise InputError(f"Masks are (H, W) or (N, H, W), but the {name} ones have the shape {array.shape}.")
    if array.dtype == np.bool_:
        return array
    if not np.issubdtype(array.dtype, np.number):
        raise InputError(f"A {name} mask holds {array.dtype} values instead of 0 and 1.")
    if np.isnan(array).any():
        raise InputError(f"A {name} mask holds NaN: masks are 0 and 1.")
    if not ((array == 0) | (array == 1)).all():
        raise InputError(
            f"A {name} mask holds values from {array.min()} to {array.max()}: masks are 0 and 1; "
            "threshold probabilities, or compare a 0-255 picture with > 127, first."
        )
    return array.astype(bool)


def _paired(
    predictions: NDArray[np.bool_], targets: NDArray[np.bool_], rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> tuple[float, float, list[float]]:
    """Intersection, union and IoUs of an item whose predictions `rows` belong to the targets `columns`."""
    first, second = (predictions[rows], targets[columns]) if len(rows) else (targets[:0], targets[:0])
    intersections = (first & second).sum(axis=(1, 2), dtype=np.int64)
    unions = (first | second).sum(axis=(1, 2), dtype=np.int64)
    # Nothing to find and nothing found is right, also where no task token was written for it.
    missing = np.delete(targets, columns, axis=0).sum(axis=(1, 2), dtype=np.int64)
    surplus = np.delete(predictions, rows, axis=0)
    ious = [1.0 if union == 0 else hit / union for hit, union in zip(intersections, unions, strict=True)]
    ious += [1.0 if area == 0 else 0.0 for area in missing]
    ious += [0.0] * len(surplus)
    union = unions.sum() + missing.sum() + surplus.sum(dtype=np.int64)
    return float(intersections.sum()), float(union), ious


def _best_pairs(
    predictions: NDArray[np.bool_], targets: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The places of predictions and targets that are paired so that the sum of IoUs is largest."""
    flat, sought = (masks.reshape(len(masks), -1).astype(np.float32) for masks in (predictions, targets))
    hits = flat @ sought.T
    unions = flat.sum(1)[:, None] + sought.sum(1) - hits
    return linear_sum_assignment(np.where(unions > 0, hits / np.maximum(unions, 1.0), 1.0), maximize=True)


def _statistics(predictions: NDArray[np.bool_], targets: NDArray[np.bool_]) -> dict[str, float]:
    """One item's row of `_COLUMNS`."""
    order = np.arange(min(len(predictions), len(targets)))
    intersection, union, ious = matched = _paired(predictions, targets, order, order)
    if len(order) and max(len(predictions), len(targets)) > 1:
        matched = _paired(predictions, targets, *_best_pairs(predictions, targets))

    predicted_any = bool(predictions.any())
    true_any = bool(targets.any())
    found, sought = predictions.any(axis=0), targets.any(axis=0)
    if predicted_any and true_any:
        united = int((found & sought).sum()), int((found | sought).sum())
        giou = united[0] / united[1]
    else:
        united = 0, int(found.sum() + sought.sum())  # one of them is empty
        giou = float(predicted_any == true_any)
    return {
        "intersection": intersection,
        "union": union,
        "iou": float(sum(ious)),
        **{name: sum(iou >= t for iou in ious) for name, t in zip(_PRECISIONS, THRESHOLDS, strict=True)},
        "masks": len(ious),
        "giou": giou,
        "right_count": float(len(predictions) == len(targets)),
        "empty": float(not true_any),
        "empty_recognized": float(not true_any and not predicted_any),
        "full": float(true_any),
        "full_recognized": float(true_any and predicted_any),
        "items": 1.0,
        "united_intersection": united[0],
        "united_union": united[1],
        "matched_intersection": matched[0],
        "matched_union": matched[1],
        "matched_iou": float(sum(matched[2])),
    }
