"""English text as words with their places, and plurals. Knows nothing of objects."""

from __future__ import annotations

import re
from dataclasses import dataclass

IRREGULAR = {
    "aircraft": "aircraft",
    "broccoli": "broccoli",
    "calf": "calves",
    "cattle": "cattle",
    "child": "children",
    "deer": "deer",
    "fish": "fish",
    "foot": "feet",
    "furniture": "furniture",
    "goose": "geese",
    "knife": "knives",
    "leaf": "leaves",
    "loaf": "loaves",
    "luggage": "luggage",
    "man": "men",
    "mouse": "mice",
    "ox": "oxen",
    "person": "people",
    "potato": "potatoes",
    "scarf": "scarves",
    "scissors": "scissors",
    "sheep": "sheep",
    "shelf": "shelves",
    "skis": "skis",
    "tomato": "tomatoes",
    "tooth": "teeth",
    "wolf": "wolves",
    "woman": "women",
}
"""Plurals that no rule gives."""

_APOSTROPHE = "\u2019"
_TOKEN = re.compile(rf"[^\W\d_]+(?:['{_APOSTROPHE}][^\W\d_]+)?|\d+|\n|[^\w\s]")
_SINGULAR_ENDS = ("ss", "us", "is")


@dataclass(frozen=True, slots=True)
class Word:
    """A word or a punctuation mark.

    Attributes:
        text: in lower case.
        start, end: its place in the text, in characters.
        sentence: number of its sentence.
        joined: a hyphen joins it to the next word ("dog-friendly").
    """

    text: str
    start: int
    end: int
    sentence: int
    joined: bool = False


def split_words(text: str) -> list[Word]:
    """The words and punctuation marks of a text; hyphens inside words part them and are left out."""
    words: list[Word] = []
    sentence = 0
    for found in _TOKEN.finditer(text):
        token, start, end = found[0], found.start(), found.end()
        if token == "-" and words and words[-1].end == start and text[end : end + 1].isalnum():
            last = words[-1]
            words[-1] = Word(last.text, last.start, last.end, last.sentence, joined=True)
            continue
        words.append(Word(token.lower().replace(_APOSTROPHE, "'"), start, end, sentence))
        sentence += token in ".!?\n"
    return words


def word_set(text: str) -> frozenset[str]:
    """The words of a list that is written as a text."""
    return frozenset(text.split())


def plural(name: str) -> str:
    """The plural of a singular name: "tennis rackets". What is a plural already ("skis") stays as it is."""
    *before, last = name.split()
    return " ".join([*before, _plural(last)])


def _plural(word: str) -> str:
    if word in IRREGULAR:
        return IRREGULAR[word]
    if word.endswith("man") and word != "human":  # fireman, snowman
        return word[:-3] + "men"
    if word.endswith("s") and not word.endswith(_SINGULAR_ENDS):
        return word
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return word + "es"
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return word[:-1] + "ies"
    return word + "s"


def is_unchanged(name: str) -> bool:
    """Whether one and several have the same name: "sheep", "skis"."""
    return plural(name) == name
