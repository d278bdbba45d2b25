"""What an object of an image may be called, and what its phrases say of it. Knows nothing of answers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from neuraltuning.data.sample import ObjectAnnotation
from neuraltuning.mmud.vocabulary import (
    COLOURS,
    FEMALE,
    FOODS,
    FUNCTION_WORDS,
    GROUP_NAMES,
    GROWN,
    LARGE,
    LOOSE_NAMES,
    MALE,
    NUMBERS,
    ONLY_ONE_ROLE,
    ORDINALS,
    PAIRS,
    PARTS,
    PEOPLE,
    PLACE_NOUNS,
    PLACES,
    PREPOSITIONS,
    ROLES,
    SMALL,
    SYNONYMS,
    UNLIKE_HEADS,
    UNREAL,
    YOUNG,
)
from neuraltuning.mmud.words import split_words, word_set

SPECIAL, CLASS, LAST_WORD, LOOSE = 4, 3, 2, 1
"""How surely a name means an object: its own special name, its class, the class's last word, a wider name."""

Box = tuple[float, float, float, float]

_NO_NAMES = PARTS | word_set("one ones object thing item")
_OF_ITSELF = word_set("in that who of")
_NO_HEADS = PLACES | SMALL | LARGE | ORDINALS.keys()
_NO_PARTICIPLES = word_set("building painting ring wing king string thing ceiling clothing")


@dataclass(frozen=True, slots=True, eq=False)
class Referent:
    """An object that an answer may mention.

    Attributes:
        number: from 1 on.
        category: of the annotation.
        box: x, y, width, height in pixels.
        names: name in the singular -> how surely it means this object.
        heads: the nouns that its phrases begin with, and its category.
        words: those of its phrases that describe it, as `stem` gives them ("red" of "the red cup left of the dog").
        related: those that describe what it stands, sits or lies by.
        phrases: each as its words without articles.
    """

    number: int
    category: str
    box: Box
    names: dict[str, int]
    heads: frozenset[str]
    words: frozenset[str]
    related: frozenset[str]
    phrases: tuple[tuple[str, ...], ...]

    @property
    def is_person(self) -> bool:
        return bool(self.heads & PEOPLE)

    @property
    def may_be_several(self) -> bool:
        """Whether one annotation may show several: bananas in a bowl."""
        return self.category in FOODS

    def fit(self, name: str) -> int:
        """How surely a name in the singular means this object, from 0 (never) to `SPECIAL`."""
        if self.is_person and name in PAIRS:
            return CLASS
        if self.is_person and name in PEOPLE:
            return self._fit_of_person(name)
        return self.names.get(name, 0)

    def contradicts(self, modifiers: frozenset[str]) -> bool:
        """Whether the phrases say another colour or size than a mention's words, or nothing of "toy"."""
        colours = {COLOURS[word] for word in modifiers if word in COLOURS}
        own = {COLOURS[word] for word in self.words if word in COLOURS}
        if colours and own and not colours & own:
            return True
        for one, other in ((SMALL, LARGE), (LARGE, SMALL)):
            if modifiers & one and self.words & other and not self.words & one:
                return True
        return bool(modifiers & UNREAL - self.words)

    def _fit_of_person(self, name: str) -> int:
        for one, other in ((MALE, FEMALE), (FEMALE, MALE)):
            if name in one and self.heads & other and not self.heads & one:
                return 0
        role = next((group for group in ONLY_ONE_ROLE if name in group), None)
        if role is not None and any(group & self.heads for group in ONLY_ONE_ROLE):
            return SPECIAL if role & self.heads else 0
        if name in ROLES:
            return SPECIAL if name in self.heads else LOOSE
        sexed = name in MALE or name in FEMALE
        for one, other in ((YOUNG, GROWN), (GROWN, YOUNG)):
            if name in one and self.heads & other and not self.heads & one:
                return LOOSE if sexed else 0  # "girl" is said of women too
        if sexed and not self.heads & (MALE | FEMALE):
            return LOOSE
        return CLASS


def referents(objects: Sequence[ObjectAnnotation]) -> list[Referent]:
    """The objects of a sample, in their order."""
    return [
        make_referent(number, item.category, [phrase.text for phrase in item.phrases], item.box, item.supercategory)
        for number, item in enumerate(objects, start=1)
    ]


def make_referent(number: int, category: str, phrases: Sequence[str], box: Box, supercategory: str = "") -> Referent:
    """What may be said of one object.

    Args:
        number: from 1 on.
        category, phrases, box, supercategory: of its annotation; each may be empty but the box.
    """
    category = " ".join(category.lower().replace("_", " ").split())
    spoken = tuple(phrase for phrase in map(phrase_words, phrases) if phrase)
    heads = {head for head in map(_head, spoken) if head}
    if category:
        if category not in PEOPLE:
            heads -= PEOPLE  # a phrase of another object
        heads.add(category)
    parted = [_own_and_related(phrase) for phrase in spoken]
    words = _content(part for part, _ in parted)
    related = _content(part for _, part in parted) - words
    names = _names(category, heads, supercategory.lower())
    return Referent(number, category, box, names, frozenset(heads), words, related, spoken)


def _names(category: str, heads: Collection[str], supercategory: str) -> dict[str, int]:
    sure: dict[str, int] = {}
    loose: dict[str, int] = {}
    for kind in [category] if category else heads:
        for same, kinds in SYNONYMS:
            if kind in same:
                sure.update(dict.fromkeys((*same, *kinds), CLASS))
            elif kind in kinds:
                loose.update(dict.fromkeys(same, LOOSE))
        loose.update((name, LOOSE) for name, categories in LOOSE_NAMES.items() if kind in categories)
    sure.update((kind, CLASS if kind == category else SPECIAL) for kind in heads)
    if supercategory in GROUP_NAMES:
        loose[supercategory] = LOOSE
    last = {name.split()[-1]: LAST_WORD for name in sure if " " in name and name not in UNLIKE_HEADS}
    return {**loose, **last, **sure}


def _content(parts: Iterable[tuple[str, ...]]) -> frozenset[str]:
    return frozenset(stem(word) for part in parts for word in part if word not in FUNCTION_WORDS)


def phrase_words(text: str) -> tuple[str, ...]:
    """The words of a phrase without articles and punctuation."""
    return tuple(
        word.text for word in split_words(text) if word.text[0].isalnum() and word.text not in ("a", "an", "the")
    )


def stem(word: str) -> str:
    """A word without its ending, so that "sitting" and "sits" compare; colours by one name."""
    if word in COLOURS:
        return COLOURS[word]
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    return word[:-1] if len(word) > 3 and word[-1] == word[-2] else word


def _own_and_related(phrase: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Parts a phrase where it begins to speak of something else: "red cup | next to the dog"."""
    for place, word in enumerate(phrase):
        if word in PREPOSITIONS - _OF_ITSELF or phrase[place : place + 2] in (("left", "of"), ("right", "of")):
            beyond = phrase[place + 1 :]
            if beyond and not set(beyond) <= PLACES | FUNCTION_WORDS | PLACE_NOUNS:
                return phrase[:place], beyond
    return phrase, ()


def _head(phrase: tuple[str, ...]) -> str:
    """The noun that a phrase begins with: "woman" of "old woman sitting on the bench"; "" of "second from left"."""
    words = []
    for place, word in enumerate(phrase):
        participle = word.endswith("ing") and word not in _NO_PARTICIPLES
        if word in FUNCTION_WORDS or (place and participle):
            break
        words.append(word)
    while words and words[-1] not in PEOPLE and (words[-1] in COLOURS or words[-1] in _NO_HEADS):
        words.pop()
    head = words[-1] if words else ""
    return "" if head in _NO_NAMES or head in NUMBERS or head.isdigit() else head
