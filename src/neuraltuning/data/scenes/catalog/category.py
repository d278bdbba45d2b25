"""The two record types of the catalog: a class of objects, and a fact that is true of it."""

from __future__ import annotations

from dataclasses import dataclass

OBJECT_COLORS = ("red", "orange", "yellow", "green", "blue", "purple", "pink")
"""The colors that sprites of recolorable classes are painted in."""


@dataclass(frozen=True, slots=True)
class Fact:
    """Something true of a class, as a verb phrase in the third person ("barks at strangers").

    Attributes:
        trained: the wording used in all splits but `test_wordings`.
        held_out: another wording of it, used in `test_wordings` only.
        also: other classes of which it is true or debatable; the fact isn't asked about where one is in the image.
    """

    trained: str
    held_out: str
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Category:
    """A class of objects.

    Attributes:
        name: singular, lower case, as it stands in texts.
        code: the OpenMoji character's code point, the stem of its SVG's file name.
        facts: at least four.
        kilograms: rough mass of a real one, for "Which of these is the heaviest?".
        irregular_plural: where the plural isn't `name` + "s".
        colors: colors that the sprite is painted in; empty where the natural color belongs to the class.
        held_out: the class occurs in the split `test_classes` only, in images and in texts.
        symmetric: mirroring the sprite changes nothing or would spoil it (letters); it is left as it is.
        supercategory: the named group; filled in by the catalog.
    """

    name: str
    code: str
    kilograms: float
    facts: tuple[Fact, ...]
    irregular_plural: str = ""
    colors: tuple[str, ...] = ()
    held_out: bool = False
    symmetric: bool = False
    supercategory: str = ""

    @property
    def plural(self) -> str:
        """The name of several: "two dogs"."""
        return self.irregular_plural or self.name + "s"

    @property
    def article(self) -> str:
        """ "a" or "an"."""
        return indefinite_article(self.name)


def indefinite_article(words: str) -> str:
    """Returns "an" before a vowel letter, otherwise "a"; good for every name and color of this catalog."""
    return "an" if words[0] in "aeiou" else "a"
