"""Which object names a text mentions, and the F1 of the mentioned against the annotated categories.

    names = ObjectNames(["dog", "hot dog", "mouse"])
    names.find("Two mice beside a hot dog.")      # {"mouse", "hot dog"}

Whole words in singular or plural, any case; at each place the longest name wins, so "hot dog" mentions no dog.
A category counts once however often it is named: this measures which objects a caption knows of, not how many.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Set
from typing import Any

from neuraltuning.evaluation.metrics.interval import Floats, ItemStatistics, divide

_WORD = re.compile(r"[^\W_]+")
_POSSESSIVE = re.compile(r"['\u2019]s\b")

_IRREGULAR = {
    "child": ("children",),
    "die": ("dice",),
    "foot": ("feet",),
    "goose": ("geese",),
    "louse": ("lice",),
    "man": ("men",),
    "mouse": ("mice",),
    "ox": ("oxen",),
    "person": ("people", "persons"),
    "tooth": ("teeth",),
    "woman": ("women",),
}
_INVARIABLE = {"aircraft", "bison", "cod", "deer", "fish", "moose", "salmon", "sheep", "shrimp", "squid", "trout"}


class ObjectNames:
    """Finds category names in texts.

    Args:
        categories: all class names of the data set, in the singular; names of several words are welcome.
    """

    def __init__(self, categories: Iterable[str]) -> None:
        self._phrases: dict[tuple[str, ...], str] = {}
        names = sorted(set(categories))
        for name in names:
            for words in plurals(_words(name)):
                self._phrases.setdefault(words, name)
        # A category's own name beats another's plural: "glasses" are spectacles where both "glass" and "glasses" exist.
        self._phrases.update({_words(name): name for name in names})
        self._longest = max(map(len, self._phrases), default=0)

    def find(self, text: str) -> set[str]:
        """The categories that `text` mentions."""
        words = _words(text)
        found: set[str] = set()
        place = 0
        while place < len(words):
            for length in range(min(self._longest, len(words) - place), 0, -1):
                name = self._phrases.get(words[place : place + length])
                if name is not None:
                    found.add(name)
                    place += length
                    break
            else:
                place += 1
        return found


class ObjectNameScores:
    """Streaming, mergeable micro F1, precision and recall of category sets."""

    def __init__(self) -> None:
        self._items = ItemStatistics(("hits", "named", "true"))

    def __len__(self) -> int:
        return len(self._items)

    def add(self, named: Set[str], true: Set[str]) -> float:
        """Takes in the categories that one text names and those that are right; returns this item's F1 (1 if both are
        empty)."""
        hits = len(named & true)
        self._items.append({"hits": hits, "named": len(named), "true": len(true)})
        return 2.0 * hits / (len(named) + len(true)) if named or true else 1.0

    def merge(self, other: ObjectNameScores) -> None:
        """Takes in everything that `other` collected."""
        self._items.extend(other._items)

    def compute(self) -> dict[str, Any]:
        """`object_f1`, `object_precision`, `object_recall` in 0..1, with intervals; None where undefined."""
        return self._items.scores(
            {
                "object_f1": _f1,
                "object_precision": self._items.ratio("hits", "named"),
                "object_recall": self._items.ratio("hits", "true"),
            }
        )


def plurals(name: tuple[str, ...]) -> set[tuple[str, ...]]:
    """The plurals that English may form of a name: of the noun before "of", else of the last word.

    Several spellings are returned where usage or rule wavers ("cacti", "cactuses"): a reader accepts each.
    """
    head = name.index("of") - 1 if "of" in name[1:] else len(name) - 1
    return {(*name[:head], plural, *name[head + 1 :]) for plural in _plurals_of_word(name[head])} if name else set()


def _plurals_of_word(word: str) -> set[str]:
    if word in _INVARIABLE:
        return {word}
    for singular, irregular in _IRREGULAR.items():
        # "snowman" -> "snowmen", but "human" and "box" only look like "man" and "ox".
        if word == singular or (word.endswith(singular) and len(singular) > 2 and word not in {"human", "german"}):
            return {word[: -len(singular)] + plural for plural in irregular}
    forms = {word + "s"}
    if word.endswith(("s", "x", "z", "ch", "sh", "o")):
        forms.add(word + "es")
    if word.endswith("y") and word[-2:-1] not in set("aeiou"):
        forms.add(word[:-1] + "ies")
    if word.endswith("fe"):
        forms.add(word[:-2] + "ves")
    elif word.endswith("f"):
        forms.add(word[:-1] + "ves")
    if word.endswith("us"):
        forms.add(word[:-2] + "i")
    return forms


def _words(text: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(_POSSESSIVE.sub("", text.casefold())))


def _f1(sums: Floats) -> Floats:
    hits, named, true = sums.T
    return divide(2.0 * hits, named + true)
