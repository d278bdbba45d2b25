"""Whether a noun phrase mentions something in the image at all: not denied, only supposed, general, or a predicate."""

from __future__ import annotations

from collections.abc import Sequence

from neuraltuning.mmud.mentions import Mention
from neuraltuning.mmud.vocabulary import ARTICLES, AUXILIARIES, FUNCTION_WORDS
from neuraltuning.mmud.words import word_set

_NEGATIONS = word_set("not no never nobody nothing cannot neither nor without lacks lack absence")
_CLAUSE_BORDERS = word_set(", ; : ( ) . ! ? but because and while whereas so since although though")
_CONDITIONS = word_set("if unless whether imagine suppose")
_COMPARING = word_set("like unlike than as without nor")
_NO_DETERMINERS = word_set("no neither any every each which what whose either")
_UNSEEN = (
    *("can't be seen", "cannot be seen", "can not be seen", "couldn't be seen"),
    *("is not visible", "isn't visible", "are not visible", "aren't visible", "is absent", "is out of frame"),
    *("is not in the image", "is not in the picture", "isn't in the image", "isn't in the picture"),
)
_BEING = word_set("is are was were be been being becomes become remains isn't aren't wasn't weren't")
_HEDGES = word_set(
    "most likely probably also just only perhaps clearly actually obviously definitely certainly simply not still "
    "therefore thus indeed maybe possibly probable to"
)
_SEEMING = word_set("seems seem appears appear might may could must can would should will looks look")
_STANDING_FOR = word_set("he she they who which that it")
_GENERAL_NEXT = word_set("is are was were can")
_INTRODUCING = word_set("as that when where how why")
_PLACED = word_set("be on in at next")
_TO_A_PLACE = word_set("by to in at of on from for as")


def is_asserted(texts: Sequence[str], mention: Mention, earlier: Sequence[Mention], may_be_bare: bool) -> bool:
    """Whether a mention says that something is there.

    Args:
        texts: the answer's words, in lower case.
        mention: to be judged.
        earlier: the mentions before it.
        may_be_bare: its noun stands without an article although it means one thing: "broccoli", "skis".
    """
    if mention.determiner in _NO_DETERMINERS or is_predicate(texts, mention, earlier):
        return False
    if " ".join(texts[mention.end : mention.end + 5]).startswith(_UNSEEN):
        return False
    if mention.determiner not in ARTICLES | {"", "another", "some"}:
        return True
    before = texts[mention.start - 1] if mention.start else ""
    if before in _COMPARING or texts[max(mention.start - 2, 0) : mention.start] == ["instead", "of"]:
        return False
    clause = _clause(texts, mention.start)
    if any(text in _NEGATIONS or text.endswith("n't") for text in clause) or _CONDITIONS & set(clause):
        return False
    if mention.determiner == "":
        if mention.many and mention.count is None:
            return not _is_general(texts, mention)
        if not mention.many and not may_be_bare and not mention.modifiers:
            return before not in _TO_A_PLACE
    return True


def is_predicate(texts: Sequence[str], mention: Mention, earlier: Sequence[Mention]) -> bool:
    """Whether it only says what the subject is, which stands before it: "The vehicle on the left is a bus"."""
    place = mention.start - 1
    while place >= 0 and texts[place] in _HEDGES:
        place -= 1
    if place < 0:
        return False
    if texts[place] == "like" and texts[place - 1] in _SEEMING:
        place -= 1
    elif texts[place] not in _BEING:
        return False
    ends = {other.end for other in earlier}
    while place >= 0 and place + 1 not in ends:
        if texts[place] == ",":  # "the man, who wears a hat, is the father"
            place = _comma_before(texts, place)
            continue
        if texts[place] in _STANDING_FOR:
            return bool(earlier) or texts[place] != "it"
        if texts[place] not in _BEING | _SEEMING | _HEDGES and not texts[place].endswith("ly"):
            return False
        place -= 1
    return place >= 0


def _comma_before(texts: Sequence[str], place: int) -> int:
    """The place before the relative clause that ends at a comma; -1 where there is none."""
    for begin in range(place - 1, 0, -1):
        if texts[begin] in (".", "!", "?", ";"):
            return -1
        if texts[begin] == ",":
            return begin - 1 if texts[begin + 1] in ("who", "which") else -1
    return -1


def _clause(texts: Sequence[str], start: int) -> list[str]:
    place = start
    while place > 0 and texts[place - 1] not in _CLAUSE_BORDERS:
        place -= 1
    return list(texts[place:start])


def _is_general(texts: Sequence[str], mention: Mention) -> bool:
    """Whether plural without an article is the subject of a sentence about all of them: "Bananas are healthy"."""
    before = texts[mention.start - 1] if mention.start else "."
    if before not in (_CLAUSE_BORDERS | _INTRODUCING) - {"and"}:
        return False
    following, then = (*texts[mention.end : mention.end + 2], "", "")[:2]
    if not following.isalpha():
        return False
    if following in _GENERAL_NEXT:
        return not (then.endswith("ing") or then in _PLACED)
    return following not in FUNCTION_WORDS - AUXILIARIES or following in ("without", "with", "that", "who", "which")
