"""VQA accuracy: the official normalization and consensus on hand-worked cases, and both variants."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path
from types import SimpleNamespace

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
    with pytest.raises(InputError, match="annotated answers"):
        VQAScores().add("yes", [""] * 10)  # TextVQA's test split
    assert VQAScores().compute()["accuracy"] is None


def test_a_single_question_has_no_interval() -> None:
    scores = VQAScores()
    scores.add("yes", ["yes"] * 3 + ["", "no", "no"] + ["maybe"] * 4)
    result = scores.compute()
    assert result["accuracy"] == pytest.approx(0.9) and result["accuracy_ci95"] is None and result["n"] == 1


def test_normalization_and_consensus_are_those_of_the_script_that_others_copy() -> None:
    """LAVIS has the official script of 2016 in it: pip install --no-deps salesforce-lavis."""
    found = importlib.util.find_spec("lavis")
    if found is None or not found.submodule_search_locations:
        pytest.skip("salesforce-lavis is not installed")
    script = Path(next(iter(found.submodule_search_locations))) / "common" / "vqa_tools" / "vqa_eval.py"
    spec = importlib.util.spec_from_file_location("vqa_eval", script)  # the package itself wants a lot of others
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    rng = random.Random(0)
    words = [
        "a",
        "an",
        "the",
        "one",
        "two",
        "ten",
        "none",
        "dont",
        "isn't",
        "arent",
        "he's",
        "red",
        "blue",
        "3",
        "3.5",
        "1,000",
        "o'clock",
        "U.S.",
        "yes",
        "no",
        "-",
        "/",
    ]
    marks = ["", "", "", ",", ".", "?", "!", "-", "/", "'s", "(", ")"]
    texts = [
        " ".join(rng.choice(words) + rng.choice(marks) for _ in range(rng.randint(1, 4))).strip() for _ in range(2000)
    ]
    theirs = module.VQAEval(n=9)
    for text in texts:
        assert normalize_answer(text) == theirs.processDigitArticle(theirs.processPunctuation(text)), text

    simple = ["yes", "no", "red", "two dogs", "left"]  # normal as they are, for that script normalizes half of them
    questions = [(rng.choice(simple), [rng.choice(simple) for _ in range(10)]) for _ in range(200)]
    truth = {
        i: {
            "answers": [{"answer": answer, "answer_id": k} for k, answer in enumerate(answers)],
            "question_type": "",
            "answer_type": "",
        }
        for i, (_, answers) in enumerate(questions)
    }
    theirs.vqa, theirs.vqaRes = (
        SimpleNamespace(qa=truth),
        SimpleNamespace(qa={i: {"answer": predicted} for i, (predicted, _) in enumerate(questions)}),
    )
    theirs.evaluate(list(truth))
    for i, (predicted, answers) in enumerate(questions):
        ours = vqa_accuracy(predicted, answers, always_normalise=True)
        # that script makes "two dogs" of "two dogs" in the answers and "2 dogs" in the prediction
        if predicted != "two dogs":
            assert ours == pytest.approx(theirs.evalQA[i] / 100, abs=1e-6)
