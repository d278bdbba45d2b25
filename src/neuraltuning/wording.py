"""The words that a description of an image has beside attributes and names, as token ids.

`The picture shows: left dog top left, right dog top, pink kite bottom, striped green background`: its opening, its
separators, where things are, and which of several of one class each is. Knows nothing of networks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

OPENING, SEPARATOR, CLOSING, PADDING = "The picture shows:", ",", "\n", "."
BACKGROUND = "background"
PLACES = (("top left", "top", "top right"), ("left", "middle", "right"), ("bottom left", "bottom", "bottom right"))
"""For the ninths of an image."""
PAIR = (("left", "right"), ("upper", "lower"))
"""For the first and the last of two things of one class, along x and along y ..."""
ENDS = (("leftmost", "rightmost"), ("topmost", "lowest"))
"""... of more than two ..."""
MIDDLE, INNER = "middle", ("second", "third", "fourth", "fifth")
"""... for the one between those of three, and for those between of more; what comes behind these has no word."""


class Thing(NamedTuple):
    """Something in an image that is to be described.

    Attributes:
        attribute: token ids, none where it isn't known.
        name: token ids of its class.
        row, column: of its centre, as shares of the image's height and width.
    """

    attribute: Sequence[int]
    name: Sequence[int]
    row: float
    column: float


@dataclass(frozen=True)
class Wording:
    """Token ids of the words above.

    Attributes:
        opening: before the first description.
        separator: between descriptions.
        closing: behind the last one.
        padding: of the positions that are left, which stand before the opening, where they don't part the descriptions
            from the question.
        places: three rows of three columns.
        background: behind what is said of it.
        pair, ends: for each axis the first and the last.
        middle, inner: see `MIDDLE` and `INNER`.
    """

    opening: Sequence[int]
    separator: Sequence[int]
    closing: Sequence[int]
    padding: int
    places: Sequence[Sequence[Sequence[int]]]
    background: Sequence[int]
    pair: Sequence[Sequence[Sequence[int]]]
    ends: Sequence[Sequence[Sequence[int]]]
    middle: Sequence[int]
    inner: Sequence[Sequence[int]]

    @classmethod
    def spelt(cls, ids: Callable[[str], Sequence[int]]) -> Wording:
        """The words as a tokenizer spells them: text -> ids, without special tokens."""

        def words(texts: Sequence[str]) -> list[Sequence[int]]:
            return [ids(" " + text) for text in texts]

        return cls(
            opening=ids(OPENING),
            separator=ids(SEPARATOR),
            closing=ids(CLOSING),
            padding=ids(PADDING)[-1],
            places=[words(row) for row in PLACES],
            background=ids(" " + BACKGROUND),
            pair=[words(axis) for axis in PAIR],
            ends=[words(axis) for axis in ENDS],
            middle=ids(" " + MIDDLE),
            inner=words(INNER),
        )

    def describe(self, things: Sequence[Thing]) -> list[tuple[int, list[int]]]:
        """The number of each thing and the token ids of its description: which of its class, attribute, name, place.

        Listed from left to right. Things of one class are told apart along the axis on which their centres are spread
        most, and are listed in that order, in the places that they have together.
        """
        listed = sorted(range(len(things)), key=lambda number: things[number].column)
        spellings: dict[int, list[int]] = {}
        ordered = list(listed)
        for places in _of_one_class([things[number] for number in listed]):
            alike = [listed[place] for place in places]
            centres = [(things[number].column, things[number].row) for number in alike]
            spreads = [max(line) - min(line) for line in zip(*centres, strict=True)]
            axis = 0 if spreads[0] >= spreads[1] else 1
            alike.sort(key=lambda number: (things[number].column, things[number].row)[axis])
            for rank, (place, number) in enumerate(zip(places, alike, strict=True)):
                thing = things[number]
                where = self.places[_third(thing.row)][_third(thing.column)]
                ordered[place] = number
                spellings[number] = [*self.rank(axis, rank, len(alike)), *thing.attribute, *thing.name, *where]
        return [(number, spellings[number]) for number in ordered]

    def rank(self, axis: int, rank: int, count: int) -> Sequence[int]:
        """The words for which of `count` things of a class one is, by its rank from 0 along x (axis 0) or y."""
        if count == 1:
            return ()
        if rank in (0, count - 1):
            return (self.pair if count == 2 else self.ends)[axis][int(rank > 0)]
        if count == 3:
            return self.middle
        return self.inner[rank - 1] if rank <= len(self.inner) else ()


def _of_one_class(things: Sequence[Thing]) -> list[list[int]]:
    """The places of the things of each class."""
    found: dict[tuple[int, ...], list[int]] = {}
    for place, thing in enumerate(things):
        found.setdefault(tuple(thing.name), []).append(place)
    return list(found.values())


def _third(share: float) -> int:
    return min(max(int(3.0 * share), 0), 2)
