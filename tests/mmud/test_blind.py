from __future__ import annotations

import pytest

from neuraltuning.mmud.blind import agreement

CATEGORIES = ("umbrella", "dog", "hot dog", "kite", "")


@pytest.mark.parametrize(
    ("question", "reference", "answer", "detail"),
    [
        # figure 4 of the journal paper
        (
            "Can you compare the age between the mother and daughter in the image?",
            "Yes, the mother is older than the daughter.",
            "Yes, the mother is older than her daughter.",
            "has 2 of the 2 content words of the answer",
        ),
        (
            "Which of these keeps you dry in the rain?",
            "The umbrella keeps you dry in the rain.",
            "Umbrellas do.",
            "has 1 of the 1 content words of the answer, and names umbrella",
        ),
        ("Is the dog left of the kite?", "The dog is left of the kite.", "", "says nothing that its question doesn't"),
        # half of the content words
        ("What is it?", "A red umbrella beside dogs", "Red umbrella, dog", "has 3 of the 4 content words"),
        ("What is it?", "A red shiny thing outside", "Red, shiny.", "has 2 of the 4 content words"),
    ],
)
def test_answers_that_agree(question: str, reference: str, answer: str, detail: str) -> None:
    found = agreement(question, reference, answer, CATEGORIES)
    assert found is not None
    assert detail in found


@pytest.mark.parametrize(
    ("question", "reference", "answer"),
    [
        # another object, none, or one more
        ("Which keeps you dry?", "The umbrella keeps you dry.", "The dog keeps you dry."),
        ("Which keeps you dry?", "The umbrella keeps you dry.", "I keep dry."),
        ("Which keeps you dry?", "The umbrella keeps you dry.", "An umbrella, a dog or a kite."),
        ("Which is eaten?", "The hot dog is eaten.", "The dog is eaten."),
        # under half of the content words
        ("What is it?", "A red shiny thing outside", "Red."),
        ("Where is it?", "To the left of the tall tree, in the shade.", "To the right."),
        ("Is it larger?", "No, it is smaller.", "Yes, it is larger."),
        ("Which of the dogs is it?", "The left one, which looks up.", "The dog."),
    ],
)
def test_answers_that_do_not(question: str, reference: str, answer: str) -> None:
    assert agreement(question, reference, answer, CATEGORIES) is None
