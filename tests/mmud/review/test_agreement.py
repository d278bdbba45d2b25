from __future__ import annotations

import random
from typing import Literal

import pytest

from neuraltuning.mmud.records import Review
from neuraltuning.mmud.review.agreement import agreement, cohen_kappa, fleiss_kappa


def review(name: str, decision: Literal["accept", "reject"], answer: str = "The cat <OBJ-1>.") -> Review:
    return Review(id="x", reviewer=name, decision=decision, answer=answer)


def test_cohens_kappa_is_that_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = random.Random(0)
    pairs = [(rng.choice("ar"), rng.choice("aar")) for _ in range(50)]
    assert cohen_kappa(pairs) == pytest.approx(metrics.cohen_kappa_score(*zip(*pairs, strict=True)))
    assert cohen_kappa([("a", "a"), ("r", "r")]) == 1
    assert cohen_kappa([("a", "a")] * 3) is None
    assert cohen_kappa([]) is None


def test_fleiss_kappa_is_that_of_the_textbook_example() -> None:
    # 10 subjects, 14 raters, 5 categories: https://en.wikipedia.org/wiki/Fleiss%27_kappa#Worked_example
    table = [
        [0, 0, 0, 0, 14],
        [0, 2, 6, 4, 2],
        [0, 0, 3, 5, 6],
        [0, 3, 9, 2, 0],
        [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0],
        [3, 2, 6, 3, 0],
        [2, 5, 3, 2, 2],
        [6, 5, 2, 1, 0],
        [0, 2, 2, 3, 7],
    ]
    assert fleiss_kappa(table) == pytest.approx(0.210, abs=5e-4)
    assert fleiss_kappa([[2, 0], [3, 0]]) is None
    assert fleiss_kappa([]) is None


def test_two_reviewers_are_compared_on_what_both_saw() -> None:
    found = agreement(
        {
            "1": {"ada": review("ada", "accept"), "bob": review("bob", "accept")},
            "2": {"ada": review("ada", "reject"), "bob": review("bob", "reject")},
            "3": {"ada": review("ada", "accept"), "bob": review("bob", "reject")},
            "4": {"ada": review("ada", "accept")},
        }
    )
    assert found.decisions == {"ada": {"accept": 3, "reject": 1}, "bob": {"accept": 1, "reject": 2}}
    (pair,) = found.pairs
    assert (pair.reviewers, pair.items, pair.both_accepted) == (("ada", "bob"), 3, 1)
    assert pair.equal == pytest.approx(2 / 3)
    assert pair.kappa == found.together.kappa == pytest.approx((2 / 3 - 4 / 9) / (1 - 4 / 9))
    assert pair.tags == 1


def test_tags_are_compared_by_object_and_mention() -> None:
    def tags(first: str, second: str) -> float | None:
        both = {"a": review("a", "accept", first), "b": review("b", "accept", second)}
        return agreement({"1": both}).together.tags

    assert tags("The cat <OBJ-1> and a dog <OBJ-2>.", "A cat <OBJ-1>, and a dog <OBJ-2>.") == 1
    assert tags("The cat <OBJ-1> and a dog <OBJ-2>.", "The cat <OBJ-2> and a dog <OBJ-2>.") == 0.5
    assert tags("The cat <OBJ-1> sees a cat.", "The cat sees a cat <OBJ-1>.") == 0
    assert tags("The cat <OBJ-1> and a dog.", "The cat <OBJ-1> and a dog <OBJ-2>.") == pytest.approx(2 / 3)
    assert tags("None.", "None.") is None


def test_more_than_two_are_pooled() -> None:
    found = agreement(
        {
            "1": {name: review(name, "accept") for name in ("ada", "bob", "cyd")},
            "2": {"ada": review("ada", "accept"), "bob": review("bob", "reject")},
            "3": {"ada": review("ada", "reject"), "cyd": review("cyd", "reject")},
        }
    )
    assert [pair.reviewers for pair in found.pairs] == [("ada", "bob"), ("ada", "cyd"), ("bob", "cyd")]
    assert found.together.items == 3
    assert found.together.equal == pytest.approx(4 / 5)
    assert found.together.kappa == fleiss_kappa([[3, 0], [1, 1], [0, 2]])
    assert found.together.both_accepted == 3


def test_one_reviewer_agrees_with_nobody() -> None:
    found = agreement({"1": {"ada": review("ada", "accept")}})
    assert found.pairs == []
    assert (found.together.items, found.together.equal, found.together.kappa) == (0, None, None)
