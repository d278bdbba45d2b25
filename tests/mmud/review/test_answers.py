from __future__ import annotations

import pytest

from neuraltuning.errors import InputError
from neuraltuning.mmud.review.answers import check_answer, join_tags, split_tags


def test_an_answer_is_taken_apart_and_put_together() -> None:
    answer = "Both dogs <OBJ-1> <OBJ-12>, and the 🎈 balloon <OBJ-3>."
    text, tags = split_tags(answer)
    assert text == "Both dogs, and the 🎈 balloon."
    assert [(text[: tag.at][-7:], tag.number) for tag in tags] == [("th dogs", 1), ("th dogs", 12), ("balloon", 3)]
    assert join_tags(text, tags) == answer
    assert split_tags("No tag.") == ("No tag.", [])
    assert join_tags(*split_tags("glued<OBJ-1>\n<OBJ-2>")) == "glued <OBJ-1> <OBJ-2>"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (" ", "is empty"),
        ("The cat sleeps.", "has no tag"),
        ("The cat <OBJ-3> sleeps.", "<OBJ-3> means no object; the image has 2"),
        ("The cat <OBJ-0> sleeps.", "<OBJ-0> means no object"),
        ("The cat <OBJ> sleeps <OBJ-1>.", "'<OBJ> sleeps'; a tag is written <OBJ-1>"),
        ("<OBJ-1> The cat sleeps.", "stands before the first word"),
        ("The ca <OBJ-1>t sleeps.", "inside of a word"),
        ("The cat <OBJ-1> <OBJ-1> sleeps.", "stands twice"),
        ("The cat <OBJ-1> sleeps." + " " * 20_000, "has 20,023 characters"),
    ],
)
def test_an_answer_that_can_not_be_used_is_refused(answer: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_answer(answer, 2, accepted=True)


def test_of_a_rejected_answer_only_the_length_counts() -> None:
    check_answer("The ca<OBJ-7>t", 2, accepted=False)
    with pytest.raises(InputError, match="characters"):
        check_answer("a" * 20_001, 2, accepted=False)


def test_usual_answers_are_taken() -> None:
    for answer in ("Both <OBJ-1> <OBJ-2>.", "10% <OBJ-1>, 5 km/h <OBJ-2>", "Die Katze <OBJ-1>", "猫<OBJ-2>"):
        check_answer(answer, 2, accepted=True)
