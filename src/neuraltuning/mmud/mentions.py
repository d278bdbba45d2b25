"""Finding noun phrases in an answer that may mention an object. Knows names, and nothing of the objects themselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from neuraltuning.mmud.endings import Endings
from neuraltuning.mmud.vocabulary import (
    BACK,
    BOTTOM,
    COLOURS,
    COMPOUND_HEADS,
    DEPICTIONS,
    DETERMINERS,
    FIXED,
    FRONT,
    FUNCTION_WORDS,
    GROUPS,
    LARGE,
    LEFT,
    MANY,
    MIDDLE,
    NUMBERS,
    PAIRS,
    PARTS,
    PLACES,
    RIGHT,
    SHARES,
    SMALL,
    TOP,
    VERBS,
    VERBS_TOO,
)
from neuraltuning.mmud.words import Word, is_unchanged, plural, word_set

_LONGEST_PHRASE = 6
"""Words before a noun that are looked at."""
_BEFORE_VERBS = word_set("to can could will would shall should may might must i you we they don't didn't doesn't")
_BEFORE_EYEWEAR = word_set("with wearing wears wear his her")
_DIRECTIONS = {
    "left": LEFT,
    "right": RIGHT,
    "top": TOP,
    "bottom": BOTTOM,
    "middle": MIDDLE,
    "front": FRONT,
    "back": BACK,
}


@dataclass(frozen=True, slots=True)
class Mention:
    """A noun phrase.

    Attributes:
        start: its first word's place among the words.
        head: its noun's place.
        stop: the place behind the noun.
        end: the place behind its last word, the words that say where it is or what colour included.
        name: its noun in the singular; "" for "the one on the left" and "the other".
        many: whether it means several.
        count: how many, where it says so.
        determiner: "the", "a", "another", ... or "" where there is none.
        modifiers: the other words that describe it.
        said_place: where the sentence says that it is: "the man who is standing *on the left*".
        chosen: it is one of several: "the bigger of the two dogs"; `count` is then that of all.
    """

    start: int
    head: int
    stop: int
    end: int
    name: str
    many: bool
    count: int | None
    determiner: str
    modifiers: tuple[str, ...]
    said_place: tuple[str, ...] = ()
    chosen: bool = False

    @property
    def directions(self) -> frozenset[str]:
        """ "left", "right", "top", "bottom", "middle", "front", "back", as far as its words say them."""
        return directions(self.modifiers)


@dataclass(frozen=True, slots=True)
class _Phrase:
    """The words before a noun: the place of the first one, the determiner, the number, and the others."""

    start: int
    determiner: str
    count: int | None
    modifiers: tuple[str, ...]


def directions(words: Iterable[str]) -> frozenset[str]:
    """The directions that words name: "left", "right", "top", "bottom", "middle", "front", "back"."""
    said = set(words)
    return frozenset(name for name, group in _DIRECTIONS.items() if said & group)


def find_mentions(words: Sequence[Word], names: Iterable[str]) -> list[Mention]:
    """The noun phrases whose noun is one of some names, or was said before ("the one on the left", "the other").

    Args:
        words: of the answer.
        names: in the singular.
    """
    return _Finder(words, set(names)).find()


class _Finder:
    def __init__(self, words: Sequence[Word], names: set[str]) -> None:
        self.words = words
        self.texts = [word.text for word in words]
        # the words of a name -> the name, and whether it is the plural
        self.forms: dict[tuple[str, ...], tuple[str, bool]] = {}
        for fixed in FIXED - names:
            self.forms[tuple(fixed.split())] = self.forms[tuple(plural(fixed).split())] = ("", False)
        self.forms.update((tuple(plural(name).split()), (name, True)) for name in names)
        self.forms.update((tuple(name.split()), (name, False)) for name in names)
        self.longest = max(map(len, self.forms))
        nouns = {name.split()[-1] for name in names}
        self.followers = COMPOUND_HEADS | nouns
        self.endings = Endings(self.texts, nouns)

    def find(self) -> list[Mention]:
        found: list[Mention | None] = []
        place = 0
        while place < len(self.words):
            name, many, stop = self._name_at(place)
            if name and not self._is_no_noun(place, stop, many):
                found.append(self._mention(name, many, place, stop))
            elif stop == place:
                found.append(self._said_before(place))
            place = max(stop, place + 1)
        return [mention for mention in found if mention is not None]

    def _name_at(self, place: int) -> tuple[str, bool, int]:
        """The longest name at a place, whether it is a plural, and the place behind it; "" for other compounds."""
        for length in range(min(self.longest, len(self.words) - place), 0, -1):
            form = tuple(self.texts[place : place + length])
            if form in self.forms:
                return *self.forms[form], place + length
        return "", False, place

    def _is_no_noun(self, head: int, stop: int, many: bool) -> bool:
        """Whether a name is part of another word, a verb, a colour or a possessive."""
        first, following = self._text(head), self._text(stop)
        if self.words[stop - 1].joined or following == "'":
            return True
        if first in VERBS and self._text(head - 1) in _BEFORE_VERBS:
            return True
        if first == "glasses" and self._text(head - 1) in _BEFORE_EYEWEAR:
            return True
        if first in COLOURS and following == "and" and self._text(stop + 1) in COLOURS:
            return True  # "an orange and white cat"
        return not many and self._goes_on(stop)

    def _goes_on(self, stop: int) -> bool:
        """Whether another noun follows, and is what is meant: "dog house"."""
        following = self._text(stop)
        if following in self.followers:
            return True
        single = following.removesuffix("s")
        if following != single and single in self.followers:
            return single not in VERBS_TOO  # "the bus stops here"
        return self._name_at(stop)[1]

    def _mention(self, name: str, many: bool, head: int, stop: int) -> Mention | None:
        if name in PAIRS and self._text(stop) == "of":
            return None  # "a couple of dogs" are dogs
        phrase = self._before(head)
        if phrase.determiner in SHARES:
            return None
        count = 2 if phrase.determiner == "both" else PAIRS.get(name, phrase.count)
        many = many or count is not None or phrase.determiner in MANY
        if is_unchanged(name) and self._text(phrase.start - 1) != "and":  # "the left sheep and the right sheep are"
            many = many or self._text(stop) in ("are", "were", "have")
        end, described = self.endings.behind(stop)
        mention = Mention(
            start=phrase.start,
            head=head,
            stop=stop,
            end=end,
            name=name,
            many=many,
            count=count,
            determiner=phrase.determiner,
            modifiers=(*phrase.modifiers, *described),
            said_place=self.endings.said_place(end),
        )
        return self._of(mention) if self._text(phrase.start - 1) == "of" else mention

    def _of(self, mention: Mention) -> Mention | None:
        """A mention behind "of": "both of the dogs", "a pair of skis", "the bigger of the two dogs"."""
        place = mention.start - 2
        text = self._text(place)
        if (text in PARTS and not mention.determiner) or text in DEPICTIONS or text in SHARES:
            return None
        if text in GROUPS:
            outer = self._before(place)
            one = is_unchanged(mention.name) and text in ("pair", "set")  # of skis
            count = 2 if text in ("pair", "couple") and not one else mention.count
            return replace(mention, start=outer.start, determiner=outer.determiner, many=not one, count=count)
        if text in ("both", "all"):
            count = 2 if text == "both" else mention.count
            return replace(mention, start=place, determiner=text, many=True, count=count)
        if not mention.many:
            return mention
        if text in NUMBERS:
            return replace(mention, start=place, determiner="", count=NUMBERS[text])
        if text == "one" or text in PLACES | SMALL | LARGE or text.endswith("est"):
            outer = self._before(place + 1)
            return replace(
                mention,
                start=outer.start,
                determiner=outer.determiner,
                modifiers=(*mention.modifiers, *outer.modifiers),
                many=False,
                chosen=True,
            )
        return mention

    def _said_before(self, place: int) -> Mention | None:
        """A mention whose noun was said before: "the one on the left", "the black one", "the other"."""
        text, following = self._text(place), self._text(place + 1)
        if text not in ("one", "ones", "other") or following == "of":
            return None
        if text == "other" and following.isalpha() and following not in FUNCTION_WORDS:
            return None  # "the other dog"
        phrase = self._before(place)
        end, described = self.endings.behind(place + 1)
        modifiers = (*phrase.modifiers, *described, *(["other"] if text == "other" else []))
        if phrase.determiner not in ("the", "another") or "only" in modifiers:
            return None
        if any((word,) in self.forms for word in phrase.modifiers):
            return None  # "the people share one umbrella"
        if not modifiers and phrase.determiner == "the":
            return None
        return Mention(
            phrase.start, place, place + 1, end, "", text == "ones", phrase.count, phrase.determiner, modifiers
        )

    def _before(self, head: int) -> _Phrase:
        count: int | None = None
        modifiers: list[str] = []
        place = head - 1
        while place >= 0 and head - place <= _LONGEST_PHRASE:
            text, before = self.texts[place], self._text(place - 1)
            if text == "one" and before in ("the", "this", "that"):
                break
            if text in DETERMINERS or text == "one" or text.endswith("'s"):
                if before in ("all", "both"):
                    return _Phrase(place - 1, before, count, tuple(modifiers))
                return _Phrase(place, "his" if text.endswith("'s") else text, count, tuple(modifiers))
            if text in NUMBERS:
                count = NUMBERS[text]
            elif not modifiers or not self._joins(text, before, modifiers[-1]):
                if text in FUNCTION_WORDS or not text.isalpha():
                    break
                modifiers.append(text)
            place -= 1
        return _Phrase(place + 1, "", count, tuple(modifiers))

    @staticmethod
    def _joins(text: str, before: str, behind: str) -> bool:
        """Whether a word only joins two adjectives: "black and white", "small, brown"."""
        return (text == "and" and {before, behind} <= COLOURS.keys()) or (text == "," and before in SMALL | LARGE)

    def _text(self, place: int) -> str:
        return self.texts[place] if 0 <= place < len(self.texts) else ""
