"""Segmentation scores: against pycocotools and torchmetrics, and on hand-worked replies."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from neuraltuning.errors import InputError
from neuraltuning.evaluation.metrics.segmentation import SegmentationMetric, SegmentationScores, mask_iou
from neuraltuning.reply import Reply
from neuraltuning.tasks.base import Example


def row(*columns: int, width: int = 10) -> NDArray[np.bool_]:
    """A (1, width) mask with the named columns set."""
    mask = np.zeros((1, width), dtype=bool)
    mask[0, list(columns)] = True
    return mask


def example(*targets: NDArray[np.bool_], id: str = "x", kind: str = "") -> Example:
    return Example(task="t", id=id, image=None, prompt="", reply="", targets={"<OBJ>": list(targets)}, kind=kind)


def reply(*masks: NDArray[np.bool_]) -> Reply:
    return Reply(text="", masks=np.array(masks)) if masks else Reply(text="")


def random_masks(n: int, seed: int = 0) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    noise = rng.random((n, 2, 12, 9))
    true = noise[:, 0] > rng.random((n, 1, 1))
    predicted = np.where(noise[:, 1] > rng.random((n, 1, 1)), true, noise[:, 1] > 0.5)
    return predicted, true


def test_each_iou_is_pycocotools() -> None:
    coco = pytest.importorskip("pycocotools.mask")
    predicted, true = random_masks(25)
    for a, b in zip(predicted, true, strict=True):
        theirs = coco.iou(
            [coco.encode(np.asfortranarray(a, np.uint8))], [coco.encode(np.asfortranarray(b, np.uint8))], [0]
        )
        assert mask_iou(a, b) == pytest.approx(theirs[0, 0], abs=1e-12)


def test_oiou_and_miou_are_torchmetrics() -> None:
    classification = pytest.importorskip("torchmetrics.functional.classification")
    import torch

    predicted, true = random_masks(25, seed=4)
    scores = SegmentationScores()
    for a, b in zip(predicted, true, strict=True):
        scores.add(a, b)
    a, b = torch.from_numpy(predicted).long(), torch.from_numpy(true).long()
    result = scores.compute()
    each = [classification.binary_jaccard_index(x, y).item() for x, y in zip(a, b, strict=True)]
    assert result["oiou"] == pytest.approx(classification.binary_jaccard_index(a, b).item(), abs=1e-6)
    assert result["miou"] == pytest.approx(np.mean(each), abs=1e-6)
    assert result["giou"] == result["miou"]
    assert result["prec@0.7"] == np.mean([iou >= 0.7 for iou in each])
    assert result["n"] == result["n_masks"] == 25


def test_a_hand_worked_pair() -> None:
    scores = SegmentationScores()
    scores.add(row(0, 1, 2), row(1, 2, 3))  # 2 / 4
    scores.add(row(0), row(0))  # 1 / 1
    result = scores.compute()
    assert result["oiou"] == 3 / 5
    assert result["miou"] == 0.75
    assert result["prec@0.5"] == 1.0 and result["prec@0.6"] == 0.5  # 0.5 itself counts
    assert result["oiou_ci95"] == [0.5, 1.0]
    assert "n_acc" not in result


@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.7, 0.8, 0.9])
def test_an_iou_of_exactly_the_threshold_counts(threshold: float) -> None:
    scores = SegmentationScores()
    scores.add(row(*range(round(threshold * 10))), row(*range(10)))
    result = scores.compute()
    assert result["miou"] == threshold and result[f"prec@{threshold}"] == 1.0
    higher = round(threshold + 0.1, 1)
    assert result.get(f"prec@{higher}", 0.0) == 0.0


def test_n_acc_and_t_acc_are_scikit_learns_recalls() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    empty, left_empty = np.random.default_rng(0).random((2, 50)) < 0.4
    scores = SegmentationScores()
    for target, predicted in zip(empty, left_empty, strict=True):
        scores.add(row() if predicted else row(0, 1), row() if target else row(1, 2))
    result = scores.compute()
    assert result["n_acc"] == pytest.approx(metrics.recall_score(empty, left_empty), abs=1e-12)
    assert result["t_acc"] == pytest.approx(metrics.recall_score(~empty, ~left_empty), abs=1e-12)
    assert result["giou"] == pytest.approx(np.mean(np.where(empty | left_empty, empty & left_empty, 1 / 3)), abs=1e-12)
    for name in ("n_acc", "t_acc", "giou", "united_oiou"):
        low, high = result[f"{name}_ci95"]
        assert low < result[name] < high


def test_a_missing_mask_scores_0_and_its_target_goes_into_the_union() -> None:
    metric = SegmentationMetric()
    values = metric.update(example(row(0, 1), row(5, 6, 7)), reply(row(0, 1)))
    assert values == {"iou": 0.5}
    result = metric.compute()
    assert result["giou"] == 2 / 5
    assert result["oiou"] == 2 / 5 and result["miou"] == 0.5 and result["prec@0.9"] == 0.5
    assert result["mask_count_accuracy"] == 0.0 and result["n"] == 1 and result["n_masks"] == 2


def test_a_reply_without_any_mask_scores_0() -> None:
    metric = SegmentationMetric()
    metric.update(example(row(0, 1)), reply())
    metric.update(example(row(3)), reply(row(3)))
    assert metric.compute()["oiou"] == 1 / 3
    assert metric.compute()["miou"] == 0.5


def test_matched_scores_know_no_order() -> None:
    scores = SegmentationScores()
    scores.add([row(0, 1), row(5)], [row(5, 6), row(0, 1)])
    result = scores.compute()
    assert (result["oiou"], result["miou"]) == (0.0, 0.0)
    assert result["matched_oiou"] == pytest.approx(3 / 4)
    assert result["matched_miou"] == pytest.approx((1.0 + 0.5) / 2)


@pytest.mark.parametrize(("n_predicted", "n_true"), [(3, 3), (2, 4), (4, 2), (1, 3), (3, 1)])
def test_matched_pairs_are_the_best_of_all(n_predicted: int, n_true: int) -> None:
    predicted, true = random_masks(4, seed=n_predicted)
    scores = SegmentationScores()
    scores.add(predicted[:n_predicted], true[:n_true])
    few = min(n_predicted, n_true)
    best = max(
        sum(mask_iou(predicted[i], true[j]) for i, j in zip(rows, columns, strict=True))
        for rows in itertools.permutations(range(n_predicted), few)
        for columns in itertools.combinations(range(n_true), few)
    )
    assert scores.compute()["matched_miou"] == pytest.approx(best / max(n_predicted, n_true))


@pytest.mark.parametrize("missing", [True, False])
def test_what_is_missing_or_surplus_counts_in_matched_scores_too(missing: bool) -> None:
    two, one = [row(0, 1), row(5, 6, 7)], [row(5, 6, 7)]
    scores = SegmentationScores()
    scores.add(*((one, two) if missing else (two, one)))
    result = scores.compute()
    assert result["oiou"] == 0.0
    assert (result["matched_oiou"], result["matched_miou"]) == (pytest.approx(3 / 5), pytest.approx(1 / 2))


def test_empty_masks_are_matched_with_empty_targets() -> None:
    scores = SegmentationScores()
    scores.add([row(), row(3)], [row(3), row()])
    assert scores.compute()["matched_miou"] == 1.0


def test_a_surplus_mask_is_a_false_positive() -> None:
    metric = SegmentationMetric()
    metric.update(example(row(0, 1)), reply(row(0, 1), row(4, 5, 6)))
    result = metric.compute()
    assert result["oiou"] == 2 / 5 and result["miou"] == 0.5 and result["giou"] == 2 / 5
    assert result["mask_count_accuracy"] == 0.0


def test_masks_are_compared_in_order() -> None:
    metric = SegmentationMetric()
    metric.update(example(row(0), row(9)), reply(row(9), row(0)))
    result = metric.compute()
    assert result["oiou"] == result["miou"] == 0.0
    assert result["giou"] == 1.0  # united, they cover the same pixels
    assert result["mask_count_accuracy"] == 1.0


def test_empty_targets() -> None:
    metric = SegmentationMetric()
    metric.update(example(row()), reply(row()))  # nothing sought, nothing found
    metric.update(example(row()), reply())  # nothing sought, no token written
    metric.update(example(row()), reply(row(1, 2)))  # nothing sought, something found
    metric.update(example(row(0)), reply(row(0)))
    metric.update(example(row(0)), reply(row()))  # something sought, nothing found
    result = metric.compute()
    assert result["giou"] == 3 / 5
    assert result["miou"] == 3 / 5
    assert result["n_acc"] == 2 / 3 and result["t_acc"] == 1 / 2
    assert result["oiou"] == result["united_oiou"] == 1 / (1 + 2 + 1)


def test_united_masks_are_compared_as_a_whole() -> None:
    """GRES's cIoU: how many masks a reply has, and in what order, makes no difference."""
    metric = SegmentationMetric()
    metric.update(example(row(0, 1), row(8, 9)), reply(row(8), row(0, 1)))  # swapped, one pixel missing
    metric.update(example(row(0, 1), row(1, 2)), reply(row(0, 1, 2, 3)))  # in one mask, one pixel too many
    metric.update(example(kind="none"), reply(row(5)))
    result = metric.compute()
    assert result["united_oiou"] == (3 + 3) / (4 + 4 + 1)
    assert result["giou"] == (3 / 4 + 3 / 4 + 0) / 3
    assert result["oiou"] < result["united_oiou"]
    assert result["by_kind"]["none"]["n_acc"] == 0.0


def test_empty_masks_alone_leave_oiou_undefined() -> None:
    scores = SegmentationScores()
    scores.add(row(), row())
    result = scores.compute()
    assert result["oiou"] is None and result["oiou_ci95"] is None
    assert result["giou"] == 1.0


def test_ignored_pixels_count_nowhere() -> None:
    scores = SegmentationScores()
    assert scores.add(row(0, 1, 2), row(0, 5), ignored=row(1, 2, 5))["iou"] == 1.0
    assert scores.add(np.zeros((0, 1, 10), dtype=bool), row(3), ignored=row(4))["iou"] == 0.0


@pytest.mark.parametrize("ignored", [np.zeros((1, 9), dtype=bool), np.zeros((2, 1, 10), dtype=bool), np.zeros((1, 1))])
def test_ignored_pixels_of_another_size_are_refused(ignored: Any) -> None:
    scores = SegmentationScores()
    for predicted in (row(0), np.zeros((0, 1, 10), dtype=bool)):
        with pytest.raises(InputError, match="ignored pixels have the shape"):
            scores.add(predicted, row(3), ignored=ignored)
    assert len(scores) == 0


def test_kinds_are_scored_apart_as_well() -> None:
    metric = SegmentationMetric()
    metric.update(example(row(0), kind="class"), reply(row(0)))
    metric.update(example(row(0), kind="relation"), reply(row(1)))
    kinds = metric.compute()["by_kind"]
    assert kinds["class"]["oiou"] == 1.0 and kinds["relation"]["oiou"] == 0.0
    assert kinds["class"]["n"] == 1
    assert "n_acc" not in kinds["class"]


def test_merging_processes_changes_no_digit() -> None:
    predicted, true = random_masks(40, seed=7)
    pairs = [
        (example(t, id=str(i), kind="ab"[i % 2]), reply(p))
        for i, (p, t) in enumerate(zip(predicted, true, strict=True))
    ]
    single, first, second = SegmentationMetric(), SegmentationMetric(), SegmentationMetric()
    for i, (asked, answered) in enumerate(pairs):
        single.update(asked, answered)
        (first, second)[i % 2].update(asked, answered)
    second.merge(first)
    assert second.compute() == single.compute()


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
def test_masks_of_zeros_and_ones_may_have_any_type(dtype: Any) -> None:
    assert mask_iou(row(0, 1).astype(dtype), row(0, 1)) == 1.0


@pytest.mark.parametrize(
    ("predicted", "message"),
    [
        (np.full((1, 10), np.nan), "NaN"),
        (np.full((1, 10), 255), "0 and 1"),
        (np.full((1, 10), 0.3), "threshold"),
        (np.zeros((1, 9), dtype=bool), "1x9"),
        (np.zeros(10, dtype=bool), "shape"),
        ([np.zeros((1, 9)), np.zeros((1, 10))], "different sizes"),
        (np.full((1, 10), "x"), "instead of 0 and 1"),
    ],
)
def test_what_is_no_mask_is_refused(predicted: Any, message: str) -> None:
    scores = SegmentationScores()
    with pytest.raises(InputError, match=message):
        scores.add(predicted, row(0))
    assert len(scores) == 0


def test_the_metric_names_the_example_whose_mask_is_wrong() -> None:
    with pytest.raises(InputError, match="scene-7"):
        SegmentationMetric().update(example(row(0), id="scene-7"), reply(np.zeros((2, 10), dtype=bool)))
