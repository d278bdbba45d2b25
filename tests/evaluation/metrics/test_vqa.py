"""VQA accuracy: the official normalization and consensus on hand-worked cases, and both variants."""

from __future__ import annotations

import pytest

from neuraltuning.errors import InputError
from neuraltuning.evaluation.metrics.vqa import VQAMetric, VQAScores, normalize_answer, vqa_accuracy
from neuraltuning.reply import Reply
from neuraltuning.tasks.base import Example


@pytest.mark.parametrize(
    ("answer", "normalized"),
    [
        (" The Dog.\n", "dog"),
        ("none", "0"),
        ("Ten", "10"),
        ("eleven", "eleven"),
        ("dont", "don't"),
        ("shouldntve", "shouldntve"),  # two apostrophes short: not in the official table
        ("shouldn'tve", "shouldn't've"),
        ("somebody'd", "somebodyd"),  # the official table's slip
        ("he's", "he's"),
        ("hot-dog", "hot dog"),  # a hyphen inside a word becomes a blank ...
        ("hot- dog", "hot dog"),
        ("red, blue", "red blue"),  # ... a mark at a word's end goes
        ("red/blue", "red blue"),
        ("1,000", "1000"),
        ("3.5", "3.5"),
        ("u.s.", "us"),
        ("?!", ""),
        ("an apple a day", "apple day"),
        ("." * 40, "." * 8),  # the official script strips 32 full stops
    ],
)
def test_normalization_is_the_official_one(answer: str, normalized: str) -> None:
    assert normalize_answer(answer) == normalized


@pytest.mark.parametrize(("matches", "accuracy"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (9, 1.0)])
def test_consensus_leaves_each_annotator_out_once(matches: int, accuracy: float) -> None:
    answers = ["yes"] * matches + [f"other {i}" for i in range(10 - matches)]
    assert vqa_accuracy("yes", answers, always_normalise=False) == pytest.approx(accuracy, abs=1e-12)


def test_the_variants_differ_where_all_annotators_agree() -> None:
    assert vqa_accuracy("Yes.", ["yes"] * 10, always_normalise=False) == 0.0
    assert vqa_accuracy("Yes.", ["yes"] * 10, always_normalise=True) == 1.0
    assert vqa_accuracy("Yes.", ["yes"] * 9 + ["no"], always_normalise=False) == 1.0


def test_one_right_answer_is_matched_after_normalization() -> None:
    assert vqa_accuracy("Two.", ["2"], always_normalise=False) == 1.0
    assert vqa_accuracy("two dogs", ["2"], always_normalise=False) == 0.0
    assert vqa_accuracy("sofa", ["couch", "Sofa"], always_normalise=False) == 1.0


def test_scores_by_kind_and_merging() -> None:
    def example(id: str, kind: str, *answers: str) -> Example:
        return Example("vqa", id, None, "?", answers[0], references=answers, kind=kind)

    pairs = [
        (example("a", "count", "2"), "two"),
        (example("b", "count", "3"), "two"),
        (example("c", "yes_no", "yes"), "Yes"),
        (Example("vqa", "d", None, "?", "red", kind="color"), "red"),  # no references: the reply is the reference
    ]
    single, first, second = VQAMetric(), VQAMetric(), VQAMetric()
    for i, (asked, text) in enumerate(pairs):
        single.update(asked, Reply(text))
        values = (first, second)[i % 2].update(asked, Reply(text))
        assert values["accuracy"] == (0.0 if asked.id == "b" else 1.0)
    first.merge(second)
    result = first.compute()
    assert result == single.compute()
    assert result["accuracy"] == result["accuracy_always_normalise"] == 0.75
    assert result["n"] == 4
    assert result["by_kind"]["count"]["accuracy"] == 0.5
    assert list(result["by_kind"]) == ["color", "count", "yes_no"]


def test_questions_without_answers_are_refused() -> None:
    with pytest.raises(InputError, match="annotated answers"):
        VQAScores().add("yes", [])
    with pytest.raises(InputError, match="list"):
        VQAScores().add("yes", "yes")
