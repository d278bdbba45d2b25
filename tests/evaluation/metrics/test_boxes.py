"""Box scores: against pycocotools, and on hand-worked boxes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from neuraltuning.errors import InputError
from neuraltuning.evaluation.metrics.boxes import BoxMetric, BoxScores, box_iou, corners_box
from neuraltuning.reply import Reply
from neuraltuning.tasks.base import Example


def test_iou_is_pycocotools() -> None:
    coco = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(0)
    first, second = rng.uniform(0, 20, (40, 4)), rng.uniform(0, 20, (40, 4))
    theirs = np.diag(coco.iou(first, second, [0] * 40))
    assert [box_iou(a.tolist(), b.tolist()) for a, b in zip(first, second, strict=True)] == pytest.approx(
        theirs, abs=1e-12
    )


def test_corners_are_continuous() -> None:
    assert corners_box(1, 2, 5, 4) == (1, 2, 4, 2)  # several codes would say 5 and 3
    assert box_iou(corners_box(0, 0, 2, 2), corners_box(1, 0, 3, 2)) == 1 / 3
    with pytest.raises(InputError, match="not negative"):
        BoxScores().add(corners_box(5, 0, 1, 2), (0, 0, 1, 1))


def test_a_half_counts_unless_it_is_told_not_to() -> None:
    half = ((0.0, 0.0, 1.0, 2.0), (0.0, 0.0, 2.0, 2.0))
    loose, strict = BoxScores(), BoxScores(strict=True)
    assert loose.add(*half) == strict.add(*half) == {"iou": 0.5}
    assert loose.compute()["prec@0.5"] == 1.0 and strict.compute()["prec@0.5"] == 0.0


def test_hand_worked_scores_missing_boxes_and_merging() -> None:
    first, second = BoxScores(), BoxScores()
    first.add((0, 0, 10, 10), (0, 0, 10, 10))
    second.add(None, (0, 0, 10, 10))
    second.add((20, 20, 5, 5), (0, 0, 10, 10))
    second.add((0, 0, 0, 0), (0, 0, 0, 0))
    first.merge(second)
    result = first.compute()
    assert result["prec@0.5"] == result["box_miou"] == 0.25 and result["n"] == 4
    assert result["prec@0.5_ci95"] == [0.0, 0.75]
    assert BoxScores().compute()["prec@0.5"] is None
    single = BoxScores()
    single.add((0, 0, 1, 2), (0, 0, 2, 2))
    assert single.compute() == {"prec@0.5": 1.0, "prec@0.5_ci95": None, "box_miou": 0.5, "box_miou_ci95": None, "n": 1}


def test_the_metric_compares_the_masks_boxes() -> None:
    mask = np.zeros((8, 8), dtype=bool)
    mask[2:4, 1:5] = True
    metric = BoxMetric()
    example = Example("grounding", "scene-1", None, "", "", targets={"<OBJ>": [(1, 2, 4, 2), (0, 0, 3, 3)]})
    assert metric.update(example, Reply("", masks=mask[None])) == {"iou": 0.5}
    assert metric.compute()["prec@0.5"] == 0.5
    with pytest.raises(InputError, match="scene-2"):
        metric.update(Example("grounding", "scene-2", None, "", ""), Reply(""))


@pytest.mark.parametrize(
    "box", [(1, 2, 3), (0, 0, -1, 2), (0, 0, float("nan"), 1), ((1, 2), (3, 4)), ("a", 1, 2, 3), 7]
)
def test_what_is_no_box_is_refused(box: Any) -> None:
    scores = BoxScores()
    for predicted, true in ((box, (0, 0, 1, 1)), (None, box)):
        with pytest.raises(InputError, match="x, y, width and height"):
            scores.add(predicted, true)
    assert len(scores) == 0
