"""What a description of several things says, and in which order."""

from __future__ import annotations

import pytest

from neuraltuning.wording import Thing, Wording


def ids(text: str) -> list[int]:
    """A tokenizer of letters."""
    return [ord(letter) for letter in text]


def described(*things: tuple[str, float, float]) -> list[str]:
    """What is said of (class, row, column), without the places."""
    given = [Thing([], ids(" " + name), row, column) for name, row, column in things]
    places = {"top", "bottom", "left", "right", "middle"}
    texts = ["".join(map(chr, spelling)).split() for _, spelling in Wording.spelt(ids).describe(given)]
    said = []
    for words in texts:
        end = next(n for n, word in enumerate(words) if word in {name for name, _, _ in things}) + 1
        assert set(words[end:]) <= places
        said.append(" ".join(words[:end]))
    return said


@pytest.mark.parametrize(
    ("things", "said"),
    [
        ([("cat", 0.5, 0.9), ("dog", 0.5, 0.1)], ["dog", "cat"]),
        ([("dog", 0.1, 0.9), ("dog", 0.5, 0.1)], ["left dog", "right dog"]),
        ([("dog", 0.9, 0.1), ("dog", 0.1, 0.4)], ["upper dog", "lower dog"]),
        ([("dog", 0.9, 0.1), ("cat", 0.5, 0.3), ("dog", 0.1, 0.4)], ["upper dog", "cat", "lower dog"]),
        (
            [("dog", 0.5, 0.9), ("dog", 0.6, 0.5), ("dog", 0.4, 0.1)],
            ["leftmost dog", "middle dog", "rightmost dog"],
        ),
        (
            [("dog", 0.1 + 0.15 * n, 0.5) for n in range(5)],
            ["topmost dog", "second dog", "third dog", "fourth dog", "lowest dog"],
        ),
        ([("dog", 0.5, 0.5), ("dog", 0.5, 0.5)], ["left dog", "right dog"]),
    ],
)
def test_things_of_one_class_say_which_of_them_each_is(things: list[tuple[str, float, float]], said: list[str]) -> None:
    assert described(*things) == said


def test_what_has_no_word_is_told_apart_by_its_place_alone() -> None:
    assert described(*[("dog", 0.5, 0.1 * n) for n in range(8)])[4:] == ["fifth dog", "dog", "dog", "rightmost dog"]


def test_attribute_and_place_stand_around_the_name() -> None:
    thing = Thing(ids(" red"), ids(" kite"), 0.1, 0.9)
    ((number, spelling),) = Wording.spelt(ids).describe([thing])
    assert (number, "".join(map(chr, spelling))) == (0, " red kite top right")
