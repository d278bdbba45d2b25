from __future__ import annotations

import time

import pytest

from neuraltuning.mmud.meaning import is_refusal, meaningless, words
from neuraltuning.mmud.records import Annotation
from tests.mmud.chat_server import ANSWER, CAPTION, QUESTION


def annotation(**texts: str) -> Annotation:
    return Annotation(
        id="train/a", model="eye", prompt="p", **{"caption": CAPTION, "question": QUESTION, "answer": ANSWER, **texts}
    )


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("", "it is empty"),
        (" \n", "it is empty"),
        ("12345 !!! ab", "only 20% of its characters are letters"),
        ("The dog barks veryyyyy loudly", "'y' stands 5 times in a row"),
        ("the the the the dog", "'the' stands several times in a row"),
        ("It is the left dog, it is the left dog, it is the left dog.", "'It is the left dog' stands several times"),
        (
            "A dog sits here. A cat sits here. A dog sits here. A bird sits here. A dog sits here. A cat sits here. "
            "A bird sits here. A dog sits here.",
            "only 33% of its groups of three words are different ones",
        ),
        ("Yes, I know that answer.", "it says nothing but that there is an answer"),  # the paper's example
        ("Yes.", "it says nothing but that there is an answer"),
        ("Sure, here is the answer:", "it says nothing but that there is an answer"),
        ("[insert the answer here]", "it holds the placeholder '[insert the answer here]'"),
        ("The <object> is on the left.", "it holds the placeholder '<object>'"),
        ("Lorem ipsum dolor sit amet.", "it holds the placeholder 'Lorem ipsum'"),
        ("N/A", "it holds the placeholder 'N/A'"),
        ("TODO: describe the dog.", "it holds the placeholder 'TODO'"),
        ("I\u2019m sorry, but I can\u2019t see any image.", "it is a refusal"),
        (QUESTION.upper() + "!", "it is the question"),
        (f'"{CAPTION}"', "it is the caption"),
    ],
)
def test_a_meaningless_answer_is_explained(answer: str, found: str) -> None:
    said = meaningless(annotation(answer=answer))
    assert said is not None
    assert said.startswith(f"answer: {found}")


@pytest.mark.parametrize("name", ["caption", "question"])
def test_the_other_texts_are_looked_at_too(name: str) -> None:
    assert meaningless(annotation(**{name: "..."})) == f"{name}: only 0% of its characters are letters"


@pytest.mark.parametrize(
    "answer",
    [
        ANSWER,
        "Yes, the mother is older than the daughter.",  # the paper rejects it by its other rules
        "No, the dog is not.",
        "It costs 12.50 euros",
        "The very, very, very big dog.",
        "Brrrr, says the dog.",
        "The dog barks.... and the cat runs.",
        "A sign says \u201cI can't help falling in love\u201d.",
        "Todo el mundo, says the sign.",
        "The answer is the red umbrella.",
        "一只红色的风筝在棕榈树上空飞翔。",
        "The dog sits on the left, the cat sits on the right, and the bird sits on the roof above the dog and the cat.",
    ],
)
def test_a_meaningful_answer_passes(answer: str) -> None:
    assert meaningless(annotation(answer=answer)) is None


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't assist with that.",
        "I am sorry, I cannot identify people.",
        "Sorry, that is not possible.",
        "As an AI, I do not look at images.",
        "Unfortunately, I am unable to view images.",
        "I cannot provide a description of this person.",
        "It seems no image was provided.",
        "I don't have access to the picture.",
    ],
)
def test_refusals_are_known(text: str) -> None:
    assert is_refusal(text)


def test_words_are_counted_without_punctuation() -> None:
    assert words("\u201cThe  well-known dog\u201d - it's 3 \n (three)!") == [
        "the",
        "well-known",
        "dog",
        "it's",
        "3",
        "three",
    ]


def test_long_texts_take_no_time() -> None:
    started = time.perf_counter()
    for text in ("a " * 50_000, "ok " * 30_000 + "x", "[insert " * 12_000, "the left dog and " * 6_000, "x" * 100_000):
        meaningless(annotation(answer=text))
    assert time.perf_counter() - started < 2
