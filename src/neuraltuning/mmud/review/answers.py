"""An answer as its plain text and the places of its tags, and whether it can be used. Knows nothing of reviewers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from neuraltuning.errors import InputError

MAX_CHARACTERS = 20_000
"""Of an answer with its tags; a person's edit is refused beyond it."""

_TAG_WITH_SPACE = re.compile(r"\s*<OBJ-(\d{1,3})>")


class PlacedTag(NamedTuple):
    """A tag of an answer.

    Attributes:
        at: how many characters of the plain text stand before it.
        number: of the object that it means, from 1 on.
    """

    at: int
    number: int


def split_tags(answer: str) -> tuple[str, list[PlacedTag]]:
    """An answer's plain text and its tags, in order; the space before a tag belongs to the tag."""
    parts, tags, length, end = [], [], 0, 0
    for match in _TAG_WITH_SPACE.finditer(answer):
        parts.append(answer[end : match.start()])
        length += len(parts[-1])
        tags.append(PlacedTag(length, int(match[1])))
        end = match.end()
    return "".join([*parts, answer[end:]]), tags


def join_tags(text: str, tags: Sequence[PlacedTag]) -> str:
    """The opposite of `split_tags`; tags at one place stay in their order."""
    parts, end = [], 0
    for tag in sorted(tags, key=lambda tag: tag.at):
        parts += [text[end : tag.at], f" <OBJ-{tag.number}>"]
        end = tag.at
    return "".join([*parts, text[end:]])


def check_answer(answer: str, objects: int, *, accepted: bool) -> None:
    """Refuses an answer that can't be used.

    Args:
        answer: with its tags.
        objects: how many the image has.
        accepted: whether it is to be used; of a rejected one only the length counts.

    Raises:
        InputError: it is empty or too long, a tag is misspelt, means no object, or stands where no mention ends; the
            message doesn't say whose answer it is.
    """
    if len(answer) > MAX_CHARACTERS:
        raise InputError(f"the answer has {len(answer):,} characters; at most {MAX_CHARACTERS:,} can be kept.")
    if not accepted:
        return
    text, tags = split_tags(answer)
    if not text.strip():
        raise InputError("the answer is empty; reject it instead.")
    if "<OBJ" in text:
        raise InputError(f"the answer has {text[text.index('<OBJ') :][:12]!r}; a tag is written <OBJ-1>.")
    for tag in tags:
        if not 1 <= tag.number <= objects:
            raise InputError(f"the tag <OBJ-{tag.number}> means no object; the image has {objects}.")
        if not text[: tag.at].strip():
            raise InputError(f"the tag <OBJ-{tag.number}> stands before the first word; put it behind the mention.")
        if (text[tag.at - 1] + text[tag.at : tag.at + 1]).isalnum() and tag.at < len(text):
            raise InputError(
                f"the tag <OBJ-{tag.number}> stands inside of a word ({text[: tag.at][-12:]!r}); put it behind it."
            )
    if len(set(tags)) < len(tags):
        twice = next(tag for tag in tags if tags.count(tag) > 1)
        raise InputError(f"the tag <OBJ-{twice.number}> stands twice behind one mention; delete one.")
    if not tags:
        raise InputError("the answer has no tag; put one behind a mention, or reject it.")
