"""Saliency scores: against a loop over thresholds, scikit-learn, and by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from neuraltuning.errors import InputError
from neuraltuning.evaluation.metrics.salient import SaliencyScores


def test_max_f_beta_is_that_of_a_loop_over_thresholds() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    true = rng.random((6, 15, 11)) < 0.3
    grey = np.clip(true * 90 + rng.normal(90, 50, true.shape), 0, 255).astype(np.uint8)
    scores = SaliencyScores()
    for soft, mask in zip(grey, true, strict=True):
        scores.add(soft / 255.0, mask)
    best = 0.0
    for threshold in range(256):
        each = []
        for soft, mask in zip(grey, true, strict=True):
            found = soft >= threshold
            hits = (found & mask).sum()
            each.append((hits / found.sum() if found.any() else 0.0, hits / mask.sum()))
        precision, recall = np.mean(each, axis=0)
        if precision + recall > 0:
            best = max(best, 1.3 * precision * recall / (0.3 * precision + recall))
    result = scores.compute()
    assert result["max_f_beta"] == pytest.approx(best, abs=1e-12)
    found = grey >= 128
    assert result["pixel_accuracy"] == pytest.approx((found == true).mean(), abs=1e-12)
    assert result["ciou"] == pytest.approx((found & true).sum() / (found | true).sum(), abs=1e-12)
    assert result["miou"] == pytest.approx(
        np.mean([metrics.jaccard_score(t.ravel(), f.ravel()) for t, f in zip(true, found, strict=True)]), abs=1e-12
    )
    assert result["max_f_beta_ci95"][0] < result["max_f_beta"] < result["max_f_beta_ci95"][1]


def test_max_f_beta_of_one_image_is_the_best_of_scikit_learns() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    true = rng.random((12, 9)) < 0.4
    grey = np.clip(true * 60 + rng.normal(100, 40, true.shape), 0, 255).astype(np.uint8)
    scores = SaliencyScores()
    scores.add(grey / 255.0, true)
    each = [
        metrics.fbeta_score(true.ravel(), (grey >= level).ravel(), beta=0.3**0.5, zero_division=0.0)
        for level in np.unique(grey)
    ]
    assert scores.compute()["max_f_beta"] == pytest.approx(max(each), abs=1e-12)


def test_hand_worked_image() -> None:
    scores = SaliencyScores()
    assert scores.add([[1.0, 0.6, 0.4, 0.0]], [[1, 1, 1, 0]]) == {"iou": 2 / 3}
    result = scores.compute()
    assert result["max_f_beta"] == pytest.approx(1.0)  # thresholds below 0.4 find all and nothing else
    assert result["pixel_accuracy"] == 0.75 and result["miou"] == result["ciou"] == 2 / 3
    assert result["max_f_beta_ci95"] is None and result["n"] == 1


def test_empty_masks_and_merging() -> None:
    first, second = SaliencyScores(), SaliencyScores()
    first.add([[0.0, 0.0]], [[0, 0]])
    second.add([[1.0, 0.0]], [[1, 0]])
    first.merge(second)
    result = first.compute()
    assert result["miou"] == 1.0 and result["pixel_accuracy"] == 1.0
    assert result["max_f_beta"] == pytest.approx(0.5)  # an image without foreground has precision and recall 0
    assert SaliencyScores().compute()["max_f_beta"] is None


@pytest.mark.parametrize(
    ("soft", "true", "message"),
    [
        ([[0.5]], [[1, 0]], "shape"),
        ([[1.5]], [[1]], "0..1"),
        ([[float("nan")]], [[1]], "NaN"),
        ([[0.5]], [[255]], "> 127"),
        ([[0.5]], [[float("nan")]], "NaN"),
        ([["x"]], [[1]], "numbers"),
        ([[0.5], [0.1, 0.2]], [[1]], "numbers"),
    ],
)
def test_unusable_masks_are_refused(soft: Any, true: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        SaliencyScores().add(soft, true)
