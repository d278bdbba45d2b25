"""The words behind a noun that say which one is meant: "the man | in the red shirt | on the left"."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from neuraltuning.mmud.vocabulary import (
    ADJECTIVES,
    ARTICLES,
    BACK,
    CLOTHES,
    COLOURS,
    COMPOUND_HEADS,
    CONTAINERS,
    DEFINITE,
    DETERMINERS,
    FRONT,
    FUNCTION_WORDS,
    LEFT,
    NUMBERS,
    ORDINALS,
    PICTURES,
    PLACE_FILLERS,
    PLACE_NOUNS,
    PLACES,
    PLURAL_VERBS,
    PRONOUNS,
    RIGHT,
    VIEWERS,
)
from neuraltuning.mmud.words import word_set

Ending = tuple[int, tuple[str, ...]]
"""The place behind the words, and those of them that describe; the place of before and nothing where there are none."""

_ALSO_ADJECTIVES = word_set("left right top bottom front back rear")
_LINKS = word_set("who which that is are was were sits stands lies seated parked located positioned placed shown")
_WITHOUT_NOUN = {"behind": "back", "above": "top", "below": "bottom"}


class Endings:
    """Looks for them in one text."""

    def __init__(self, texts: Sequence[str], nouns: Collection[str]) -> None:
        """Takes a text's words, and nouns that may stand in it."""
        self.texts, self.nouns = texts, nouns

    def behind(self, stop: int) -> Ending:
        """What follows a noun that ends before `stop`."""
        end = stop
        described: tuple[str, ...] = ()
        rules: tuple[Callable[[int], Ending], ...] = (self._contents, self._place, self._clothes)
        while True:
            further, more = next((found for rule in rules if (found := rule(end))[0] > end), (end, ()))
            if further == end:
                return end, described
            end, described = further, (*described, *more)

    def said_place(self, end: int) -> tuple[str, ...]:
        """Where a sentence says that something is: "who is standing *on the left* of the bench"."""
        place = end + (self._text(end) == ",")
        while place < end + 4 and (self._text(place) in _LINKS or self._text(place).endswith("ing")):
            place += 1
        return self._place(place, of_image=False)[1]

    def _contents(self, start: int) -> Ending:
        """ "of hot coffee" """
        container = self._text(start - 1)
        if self._text(start) != "of" or not {container, container.removesuffix("s")} & CONTAINERS:
            return start, ()
        end = start + 1
        while self._text(end) in ADJECTIVES or self._text(end) in COLOURS:
            end += 1
        contents = self._text(end)
        if not contents.isalpha() or contents in FUNCTION_WORDS | PICTURES or contents in NUMBERS:
            return start, ()
        return end + 1, tuple(self.texts[start + 1 : end + 1])

    def _clothes(self, start: int) -> Ending:
        """ "in red", "in the blue jacket" """
        if self._text(start) != "in":
            return start, ()
        first = start + 1 + (self._text(start + 1) in DEFINITE | ARTICLES | {"all"})
        end = first
        while end - first < 5 and self._text(end).isalpha() and self._text(end) not in FUNCTION_WORDS - {"and"}:
            end += 1
            if self._text(end - 1) in CLOTHES:
                return end, tuple(text for text in self.texts[first:end] if text != "and")
        end = first
        while self._text(end) in COLOURS or (self._text(end) == "and" and self._text(end + 1) in COLOURS):
            end += 1
        following = self._text(end)
        if end == first or (following.isalpha() and following not in FUNCTION_WORDS):
            return start, ()
        return end, tuple(text for text in self.texts[first:end] if text != "and")

    def _place(self, start: int, of_image: bool = True) -> Ending:
        """ "on the left", "in front", "at the top right", "closest to the camera", "second from the left"

        Args:
            start: place of the first word.
            of_image: whether the place must be the image's ("on the left", not "on the left of the couch").
        """
        text, following = self._text(start), self._text(start + 1)
        if text == "in" and following == "front":
            return (start, ()) if self._text(start + 2) == "of" else (start + 2, ("front",))
        if text in _WITHOUT_NOUN and not self._opens_phrase(start + 1):
            return start + 1, (_WITHOUT_NOUN[text],)
        if text in ORDINALS and following == "from":
            end, where = self._place(start + 1)
            return (end, (text, *where)) if where else (start, ())
        if text in FRONT | BACK and text.endswith(("est", "er")):
            return self._compared(start)
        if text not in ("on", "at", "in", "to", "from", "toward", "towards", "near"):
            return start, ()
        first = start + 1 + (self._text(start + 1) in DEFINITE)
        end = first
        while self._text(end) in PLACE_NOUNS | PLACE_FILLERS | PLACES:
            end += 1
        following, said = self._text(end), self.texts[first:end]
        if not said or said[-1] not in PLACE_NOUNS:
            return start, ()
        if following == "of" and of_image:
            beyond = end + 1 + (self._text(end + 1) in DEFINITE)
            if self._text(beyond) not in PICTURES:
                return start, ()
        elif said[-1] in _ALSO_ADJECTIVES and self._is_noun(following):
            return start, ()  # "in the front seat"
        if following == "and" and self._text(end + 1) in PLACE_NOUNS:
            return end + 2, ("both",)
        if "both" in said:
            return end, ("both",)
        return end, tuple(word for word in (*said, text) if word in PLACES or word == "from")

    def _compared(self, start: int) -> Ending:
        """ "closest to the camera", "farthest to the left", "further away" """
        text, following = self._text(start), self._text(start + 1)
        if following == "away":
            return start + 2, ("back",)
        if following in LEFT | RIGHT:
            return start + 2, (following,)
        if following not in ("to", "from"):
            return (start, ()) if self._opens_phrase(start + 1) else (start + 1, (text,))
        end = start + 2 + (self._text(start + 2) == "the")
        if self._text(end) in VIEWERS:
            return end + 1, ("front" if (text in FRONT) == (following == "to") else "back",)
        end, where = self._place(start + 1)
        return (end, where) if where else (start, ())

    def _is_noun(self, text: str) -> bool:
        """Whether a word behind "on the left" is rather a noun than the sentence's verb, which ends in -s or -ed."""
        if not text.isalpha() or text in FUNCTION_WORDS or text in PLURAL_VERBS:
            return False
        return text in COMPOUND_HEADS or text in self.nouns or not text.endswith(("s", "ed", "ing", "ly"))

    def _opens_phrase(self, place: int) -> bool:
        return self._text(place) in DETERMINERS | PRONOUNS

    def _text(self, place: int) -> str:
        return self.texts[place] if 0 <= place < len(self.texts) else ""
