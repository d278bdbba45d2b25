"""Scores of drawn pictures: FID, KID and IS against scipy and torchmetrics, and the search among 16 by hand."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from neuraltuning.errors import InputError
from neuraltuning.evaluation.metrics import generation
from neuraltuning.evaluation.metrics.generation import (
    GenerationMetric,
    GenerationScores,
    frechet_distance,
    inception_score,
    kernel_distance,
)
from neuraltuning.evaluation.metrics.image_features import FeatureExtractor
from neuraltuning.reply import Reply
from neuraltuning.tasks.base import Example


def features(n: int, size: int, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    first = rng.gamma(2.0, size=(n, size))
    return first, first[rng.permutation(n)] * 1.2 + rng.normal(size=(n, size)) * 0.5


def scores_of(targets: Any, generated: Any) -> GenerationScores:
    scores = GenerationScores()
    for i, (target, drawn) in enumerate(zip(targets, generated, strict=True)):
        scores.add(f"{i:03d}", target, drawn)
    return scores


@pytest.mark.parametrize(("n", "size"), [(200, 6), (12, 40)])
def test_fid_is_the_matrix_square_roots(n: int, size: int) -> None:
    linalg = pytest.importorskip("scipy.linalg")
    first, second = features(n, size)
    cov1, cov2 = np.cov(first.T), np.cov(second.T)
    # A product of singular covariances has no stable square root; a little on the diagonal gives it one.
    ridge = np.eye(size) * 1e-10
    root = linalg.sqrtm((cov1 + ridge) @ (cov2 + ridge))
    expected = ((first.mean(0) - second.mean(0)) ** 2).sum() + np.trace(cov1 + cov2 - 2 * np.real(root))
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-3 if n < size else 1e-8)


def test_fid_is_torchmetrics() -> None:
    fid = pytest.importorskip("torchmetrics.image.fid")
    import torch

    first, second = features(150, 10, seed=1)
    moments = [torch.from_numpy(x) for f in (first, second) for x in (f.mean(0), np.cov(f.T))]
    assert frechet_distance(first, second) == pytest.approx(float(fid._compute_fid(*moments)), abs=1e-6)


def test_fid_of_a_shift_is_its_square() -> None:
    first, _ = features(50, 4)
    assert frechet_distance(first, first + 2.0) == pytest.approx(4 * 4.0)
    assert frechet_distance(first, first) == pytest.approx(0.0, abs=1e-9)


def test_kid_is_torchmetrics() -> None:
    kid = pytest.importorskip("torchmetrics.image.kid")
    import torch

    first, second = features(60, 16)
    theirs = kid.poly_mmd(torch.from_numpy(first), torch.from_numpy(second))
    assert kernel_distance(first, second) == pytest.approx(float(theirs), abs=1e-9)
    by_subsets = kernel_distance(first, second, subsets=400, subset_size=30)
    assert by_subsets == pytest.approx(kernel_distance(first, second), abs=0.05 * abs(float(theirs)))
    assert by_subsets == kernel_distance(first, second, subsets=400, subset_size=30)


@pytest.mark.filterwarnings("ignore::UserWarning:torchmetrics.*")
def test_inception_score_is_torchmetrics() -> None:
    inception = pytest.importorskip("torchmetrics.image.inception")
    import torch

    logits = np.random.default_rng(2).normal(size=(40, 7)) * 3
    theirs = inception.InceptionScore(feature=torch.nn.Identity(), splits=1)
    theirs.update(torch.from_numpy(logits))
    assert inception_score(logits, splits=1) == pytest.approx((float(theirs.compute()[0]), 0.0), abs=1e-6)
    one_class = np.tile(np.array([[9.0, 0.0, 0.0]]), (20, 1))
    assert inception_score(one_class) == pytest.approx((1.0, 0.0))  # always the same class: the worst


def test_scores_carry_the_networks_name_counts_and_intervals() -> None:
    targets, generated = features(40, 8)
    result = scores_of(targets, generated).compute("tiny")
    assert result["fid_tiny"] == pytest.approx(frechet_distance(targets, generated))
    assert result["kid_tiny"] == pytest.approx(kernel_distance(targets, generated))
    for name in ("fid_tiny", "kid_tiny", "among_16"):
        low, high = result[f"{name}_ci95"]
        assert low < result[name] < high, name
    assert result["n"] == result["n_drawn"] == 40 and result["drawn"] == 1.0 and result["encoder"] == "tiny"
    assert "is_tiny" not in result and "missing" not in result


def test_copies_are_found_and_noise_is_found_by_chance() -> None:
    rng = np.random.default_rng(0)
    targets = rng.normal(size=(400, 20))
    assert scores_of(targets, targets).compute("x")["among_16"] == 1.0
    assert scores_of(targets, rng.normal(size=(400, 20))).compute("x")["among_16"] == pytest.approx(1 / 16, abs=0.03)


def test_centring_keeps_a_common_offset_from_deciding() -> None:
    rng = np.random.default_rng(0)
    targets = rng.normal(size=(60, 20)) + 1000.0
    assert scores_of(targets, targets + rng.normal(size=(60, 20)) * 0.01).compute("x")["among_16"] == 1.0


def test_ties_and_missing_pictures_are_wrong() -> None:
    targets = np.tile(np.eye(4), (8, 1))  # every target eight times: some of the 15 others are its twins
    hits = scores_of(targets, targets).among()
    assert len(hits) == 32 and not any(hits.values())
    distinct = np.eye(20)
    missing = scores_of(distinct, [None, *distinct[1:]])
    assert missing.among()["000"] is False and sum(missing.among().values()) == 19
    result = missing.compute("x")
    assert result["drawn"] == 19 / 20 and result["n_drawn"] == 19 and result["among_16"] == 19 / 20


def test_order_and_processes_change_nothing() -> None:
    targets, generated = features(30, 8)
    single = scores_of(targets, generated)
    first, second = GenerationScores(), GenerationScores()
    for i in reversed(range(30)):
        (first, second)[i % 2].add(f"{i:03d}", targets[i], generated[i])
    second.merge(first)
    assert second.compute("x") == single.compute("x")
    with pytest.raises(InputError, match="twice"):
        second.merge(first)


def test_too_few_pictures_give_no_number_but_a_reason() -> None:
    scores = GenerationScores()
    scores.add("a", [1.0, 2.0], [1.0, 2.0])
    result = scores.compute("x")
    assert result["fid_x"] is None and result["kid_x_ci95"] is None and result["among_16"] is None
    assert "two pictures" in result["missing"]["fid_x"] and "16 items" in result["missing"]["among_16"]
    assert result["drawn"] == 1.0 and result["drawn_ci95"] is None and "is_x" not in result
    assert GenerationScores().compute("x")["drawn"] is None
    few = GenerationScores()
    for i in range(9):
        few.add(f"{i}", [1.0, i], [1.0, i], [0.0, i])
    result = few.compute("x")
    assert result["is_x"] is None and result["is_x_ci95"] is None and "10 pictures" in result["missing"]["is_x"]


@pytest.mark.parametrize("wrong", [[1.0], [[1.0, 2.0]], [1.0, float("nan")]])
def test_wrong_features_are_refused(wrong: Any) -> None:
    scores = GenerationScores()
    scores.add("a", [1.0, 2.0], None, [1.0, 2.0])
    for row in (([1.0, 2.0], wrong), (wrong, None), ([1.0, 2.0], [1.0, 2.0], wrong)):
        with pytest.raises(InputError, match="'b'"):
            scores.add("b", *row)
    assert len(scores) == 1
    with pytest.raises(InputError, match="'a'"):
        GenerationScores().add("a", [1.0, 2.0], [1.0, 2.0, 3.0])


def test_intervals_of_many_pictures_are_those_of_whole_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond so many pictures, fewer are drawn for a resample and the spread is scaled down."""
    targets, generated = features(600, 4, seed=3)
    whole = scores_of(targets, generated).compute("x")
    monkeypatch.setattr(generation, "INTERVAL_IMAGES", 150)
    part = scores_of(targets, generated).compute("x")
    for name in ("fid_x", "kid_x"):
        (low, high), (expected_low, expected_high) = part[f"{name}_ci95"], whole[f"{name}_ci95"]
        assert part[name] == whole[name] and low < part[name] < high
        assert high - low == pytest.approx(expected_high - expected_low, rel=0.35), name


def mean_color(images: Sequence[Image.Image]) -> tuple[NDArray[np.float64], None]:
    return np.array([np.asarray(image.convert("RGB")).mean(axis=(0, 1)) for image in images]), None


def drawing(id: int) -> Example:
    picture = Image.new("RGB", (4, 4), (id * 5, (id * 37) % 256, (id * 91) % 256))
    return Example("text_to_image", f"scene-{id:02d}", None, "Draw", "<GEN>", targets={"<GEN>": [picture]})


def test_the_metric_embeds_pictures_in_batches_and_travels_between_processes() -> None:
    metric, other = (GenerationMetric(FeatureExtractor("mean-color", mean_color)) for _ in range(2))
    for i in range(50):
        asked = drawing(i)
        images = () if i == 3 else (asked.targets["<GEN>"][0],)
        drawn = (metric if i < 45 else other).update(asked, Reply("<GEN>", images=images))
        assert drawn == {"drawn": 0.0 if i == 3 else 1.0}
    metric.merge(pickle.loads(pickle.dumps(other)))
    result = metric.compute()
    assert result["n"] == 50 and result["n_drawn"] == 49
    assert result["among_16"] == 49 / 50
    assert 0.0 < result["fid_mean-color"] < 50.0  # one of fifty pictures is not there
    assert metric.per_item()["scene-03"] == {"among_16": 0.0}
    with pytest.raises(InputError, match="features"):
        metric.merge(GenerationMetric(FeatureExtractor("other", mean_color)))
    with pytest.raises(InputError, match="scene-x"):
        metric.update(Example("t", "scene-x", None, "", ""), Reply(""))


def test_a_network_with_a_classifier_gives_the_inception_score() -> None:
    def with_logits(images: Sequence[Image.Image]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        colors, _ = mean_color(images)
        return colors, colors / 20.0

    metric = GenerationMetric(FeatureExtractor("colors", with_logits))
    for i in range(20):
        asked = drawing(i)
        metric.update(asked, Reply("<GEN>", images=(asked.targets["<GEN>"][0],)))
    result = metric.compute()
    logits = np.concatenate([with_logits([drawing(i).targets["<GEN>"][0]])[1] for i in range(20)])
    assert (result["is_colors"], result["is_colors_std"]) == pytest.approx(inception_score(logits))
    assert 1.0 < result["is_colors"] < 3.0
    assert result["is_colors_ci95"][0] < result["is_colors"] < result["is_colors_ci95"][1]
