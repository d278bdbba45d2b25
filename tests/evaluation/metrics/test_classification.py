"""Accuracy of class labels, as they come out of a language model."""

from __future__ import annotations

import numpy as np
import pytest

from neuraltuning.errors import InputError
from neuraltuning.evaluation.metrics.classification import ClassificationMetric, ClassificationScores, normalize_label
from neuraltuning.reply import Reply
from neuraltuning.tasks.base import Example


@pytest.mark.parametrize("label", ["apple_pie", "Apple pie.", "  apple \n PIE", "APPLE_PIE."])
def test_spellings_of_one_label(label: str) -> None:
    assert normalize_label(label) == "apple pie"


def test_accuracy_is_scikit_learns() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    labels = np.array(["entailment", "neutral", "contradiction"])
    true, predicted = np.random.default_rng(0).integers(3, size=(2, 60))
    scores = ClassificationScores()
    for p, t in zip(labels[predicted], labels[true], strict=True):
        scores.add(str(p), str(t))
    result = scores.compute()
    assert result["accuracy"] == pytest.approx(metrics.accuracy_score(true, predicted), abs=1e-12)
    assert result["accuracy_ci95"][0] < result["accuracy"] < result["accuracy_ci95"][1]


def test_a_single_label_has_no_interval() -> None:
    scores = ClassificationScores()
    scores.add("no", "no")
    assert scores.compute() == {"accuracy": 1.0, "accuracy_ci95": None, "n": 1}
    assert ClassificationScores().compute() == {"accuracy": None, "accuracy_ci95": None, "n": 0}


def test_accuracy_and_merging() -> None:
    single, first, second = ClassificationScores(), ClassificationScores(), ClassificationScores()
    pairs = [("Entailment.", "entailment"), ("neutral", "contradiction"), ("", "neutral"), ("no", "no")]
    for i, pair in enumerate(pairs):
        single.add(*pair)
        (first, second)[i % 2].add(*pair)
    first.merge(second)
    assert first.compute() == single.compute()
    assert single.compute()["accuracy"] == 0.5 and single.compute()["n"] == 4
    with pytest.raises(InputError, match="empty"):
        single.add("x", " ")


def test_the_metric_takes_the_first_reference() -> None:
    metric = ClassificationMetric()
    assert metric.update(Example("t", "a", None, "", "pizza"), Reply("Pizza")) == {"accuracy": 1.0}
    assert metric.update(Example("t", "b", None, "", "x", references=("soup",)), Reply("x")) == {"accuracy": 0.0}
    assert metric.compute()["accuracy"] == 0.5
