"""Object names in texts: plurals, whole words, longest match; F1 against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest

from neuraltuning.evaluation.metrics.object_names import ObjectNames, ObjectNameScores

NAMES = ObjectNames(
    [
        *("dog", "hot dog", "mouse", "fox", "strawberry", "knife", "person", "snowman", "human", "sheep", "glass"),
        *("glasses", "pair of scissors", "cactus", "t-shirt", "ox", "tree", "Christmas tree"),
    ]
)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("A dog.", {"dog"}),
        ("Dogs, DOGS!", {"dog"}),
        ("a hot dog and two hot dogs", {"hot dog"}),
        ("a hot dog beside a dog", {"hot dog", "dog"}),
        ("a hotdog, a dogma", set()),
        ("two mice and three foxes", {"mouse", "fox"}),
        ("strawberries and knives", {"strawberry", "knife"}),
        ("people with snowmen", {"person", "snowman"}),
        ("humans", {"human"}),
        ("the sheep", {"sheep"}),
        ("glasses", {"glasses"}),  # a category's own name, not the plural of "glass"
        ("a glass", {"glass"}),
        ("two pairs of scissors", {"pair of scissors"}),
        ("scissors", set()),
        ("cacti or cactuses", {"cactus"}),
        ("the dog's T-shirts", {"dog", "t-shirt"}),
        ("oxen in a box", {"ox"}),
        ("a Christmas tree", {"Christmas tree"}),
        ("<OBJ>dog<OBJ>", {"dog"}),
        ("", set()),
    ],
)
def test_names_are_found(text: str, names: set[str]) -> None:
    assert NAMES.find(text) == names


def test_micro_f1_is_scikit_learns() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    true, named = rng.random((30, 8)) < 0.4, rng.random((30, 8)) < 0.4
    scores = ObjectNameScores()
    for t, p in zip(true, named, strict=True):
        scores.add({str(i) for i in np.flatnonzero(p)}, {str(i) for i in np.flatnonzero(t)})
    result = scores.compute()
    assert result["object_f1"] == pytest.approx(metrics.f1_score(true, named, average="micro"), abs=1e-12)
    assert result["object_precision"] == pytest.approx(metrics.precision_score(true, named, average="micro"), abs=1e-12)
    assert result["object_recall"] == pytest.approx(metrics.recall_score(true, named, average="micro"), abs=1e-12)
    assert result["object_f1_ci95"][0] < result["object_f1"] < result["object_f1_ci95"][1]


def test_hand_worked_f1() -> None:
    scores = ObjectNameScores()
    assert scores.add({"dog", "cat"}, {"dog"}) == pytest.approx(2 / 3)
    assert scores.add(set(), {"fox"}) == 0.0
    assert scores.add(set(), set()) == 1.0
    assert scores.compute()["object_f1"] == 0.5
    other = ObjectNameScores()
    other.add({"fox"}, {"fox"})
    scores.merge(other)
    assert scores.compute()["object_f1"] == pytest.approx(4 / 6)
