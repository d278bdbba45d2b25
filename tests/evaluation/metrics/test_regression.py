"""Sentiment regression scores: against scikit-learn and scipy, with zeros, ties and constants by hand."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import numpy as np
import pytest

from neuraltuning.errors import InputError
from neuraltuning.evaluation.metrics.regression import RegressionScores


def scored(predicted: list[float], true: list[float]) -> RegressionScores:
    scores = RegressionScores()
    for pair in zip(predicted, true, strict=True):
        scores.add(*pair)
    return scores


def test_scores_are_scikit_learns_and_scipys() -> None:
    metrics, stats = pytest.importorskip("sklearn.metrics"), pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    true = np.clip(np.round(rng.normal(0, 1.5, 200) * 3) / 3, -3, 3)
    predicted = true * 0.6 + rng.normal(0, 1, 200)
    result = scored(predicted.tolist(), true.tolist()).compute()
    assert result["mae"] == pytest.approx(metrics.mean_absolute_error(true, predicted), abs=1e-12)
    assert result["pearson"] == pytest.approx(stats.pearsonr(true, predicted).statistic, abs=1e-12)
    marked = true != 0
    for name, t, p in (
        ("has0", true >= 0, predicted >= 0),
        ("non0", true[marked] > 0, predicted[marked] > 0),
    ):
        assert result[f"acc2_{name}"] == pytest.approx(metrics.accuracy_score(t, p), abs=1e-12)
        assert result[f"f1_{name}"] == pytest.approx(metrics.f1_score(t, p, average="weighted"), abs=1e-12)
    for name in ("mae", "pearson", "acc7", "acc2_has0", "f1_non0"):
        low, high = result[f"{name}_ci95"]
        assert low < result[name] < high
    assert result["n"] == 200


def test_seven_classes_round_half_away_from_zero() -> None:
    assert scored([0.5, -2.5, 4.0, -0.4], [1.0, -3.0, 2.6, 0.2]).compute()["acc7"] == 1.0
    assert scored([2.5], [2.0]).compute()["acc7"] == 0.0  # numpy's rounding to even would call this right


def test_seven_classes_are_those_of_decimal_rounding() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    predicted, true = (rng.integers(-14, 15, (2, 300)) / 4).tolist()  # many halves, and some beyond 3

    def rounded(values: list[float]) -> list[int]:
        clipped = (min(3.0, max(-3.0, value)) for value in values)
        return [int(Decimal(value).quantize(Decimal(1), ROUND_HALF_UP)) for value in clipped]

    expected = metrics.accuracy_score(rounded(true), rounded(predicted))
    assert scored(predicted, true).compute()["acc7"] == pytest.approx(expected, abs=1e-12)


def test_zeros_count_in_one_variant_only() -> None:
    result = scored([-1.0, 1.0, 0.0], [0.0, 1.0, 2.0]).compute()
    assert result["acc2_has0"] == pytest.approx(2 / 3)
    assert result["acc2_non0"] == 0.5  # the true zero is out; 0.0 is not positive


def test_single_and_constant_items() -> None:
    one = scored([1.0], [2.0]).compute()
    assert one["mae"] == 1.0 and one["mae_ci95"] is None and one["pearson"] is None
    assert scored([1.0, 1.0, 1.0], [0.1, 0.2, 0.7]).compute()["pearson"] is None
    assert scored([0.1] * 7, [0.1] * 7).compute()["pearson"] is None
    assert scored([1.0], [0.0]).compute()["acc2_non0"] is None


@pytest.mark.parametrize(("predicted", "true"), [(float("nan"), 0.0), (0.0, float("-inf")), ("high", 0.0), ([1, 2], 1)])
def test_what_is_no_number_is_refused(predicted: Any, true: Any) -> None:
    scores = RegressionScores()
    with pytest.raises(InputError, match="finite"):
        scores.add(predicted, true)
    assert len(scores) == 0


def test_ties_do_not_disturb_the_correlation() -> None:
    stats = pytest.importorskip("scipy.stats")
    predicted, true = [1.0, 1.0, 2.0, 2.0, 3.0], [0.0, 0.0, 0.0, 1.0, 1.0]
    assert scored(predicted, true).compute()["pearson"] == pytest.approx(stats.pearsonr(predicted, true)[0], abs=1e-12)


def test_merging_changes_no_digit() -> None:
    values = np.random.default_rng(1).normal(size=(30, 2)).tolist()
    single, first, second = (RegressionScores() for _ in range(3))
    for i, (predicted, true) in enumerate(values):
        single.add(predicted, true)
        (first, second)[i % 2].add(predicted, true)
    second.merge(first)
    assert second.compute() == single.compute()
