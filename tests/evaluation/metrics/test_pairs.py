"""Whole lists of predictions: fed in order, refused where the lists differ in length, unusable items named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from neuraltuning.errors import InputError
from neuraltuning.evaluation.metrics.boxes import BoxScores
from neuraltuning.evaluation.metrics.captions import CaptionScores
from neuraltuning.evaluation.metrics.classification import ClassificationScores
from neuraltuning.evaluation.metrics.pairs import add_all
from neuraltuning.evaluation.metrics.regression import RegressionScores
from neuraltuning.evaluation.metrics.salient import SaliencyScores
from neuraltuning.evaluation.metrics.segmentation import SegmentationScores
from neuraltuning.evaluation.metrics.vqa import VQAScores

MASK = np.ones((2, 2), dtype=bool)
FAMILIES: list[tuple[Any, Any, Any]] = [
    (SegmentationScores, MASK, MASK),
    (SaliencyScores, MASK, MASK),
    (BoxScores, (0, 0, 1, 1), (0, 0, 1, 1)),
    (ClassificationScores, "a", "a"),
    (RegressionScores, 1.0, 1.0),
    (VQAScores, "a", ["a"]),
    (CaptionScores, "a", ["a"]),
]


@pytest.mark.parametrize(("scores", "predicted", "true"), FAMILIES)
def test_lists_of_different_length_are_refused(scores: Any, predicted: Any, true: Any) -> None:
    collected = scores()
    for n_predicted, n_true in ((2, 3), (3, 2), (0, 1)):
        with pytest.raises(InputError, match=f"{n_predicted} predictions for {n_true} references"):
            add_all(collected, [predicted] * n_predicted, [true] * n_true)
    assert len(collected) == 0
    add_all(collected, [predicted] * 3, [true] * 3)
    assert len(collected) == 3


def test_an_unusable_item_is_named_by_its_place() -> None:
    holed = np.array([[np.nan, 1.0], [0.0, 1.0]])
    with pytest.raises(InputError, match=r"Item 2: A predicted mask holds NaN"):
        add_all(SegmentationScores(), [MASK, holed], [MASK, MASK])
    with pytest.raises(InputError, match=r"Item 1: A predicted mask is 2x2 pixels .* 3x2"):
        add_all(SegmentationScores(), [MASK], [np.ones((3, 2))])
