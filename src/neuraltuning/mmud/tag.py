"""Puts `<OBJ-i>` behind each mention of an annotated object in an answer (journal paper, appendix A.2).

neuraltuning mmud tag work

Rules place the tags: names, phrases, places and relations (`mentions`, `resolve`). What they can't decide is reported.
A tagged item stays as it is until `annotate` writes another answer for it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.progress import track

from neuraltuning.errors import InputError
from neuraltuning.mmud.records import TAG, Annotation, Tagging
from neuraltuning.mmud.referents import Referent, referents
from neuraltuning.mmud.resolve import resolve
from neuraltuning.mmud.words import split_words
from neuraltuning.mmud.workspace import Workspace

_TAG_AND_SPACE = re.compile(r"\s*<OBJ(?:-\d+)?>")


@dataclass(frozen=True, slots=True)
class TaggedText:
    """An answer with its tags.

    Attributes:
        answer: the text.
        unplaced: numbers of the objects (from 1) without a tag.
        unclear: mentions that fit several objects and have no tag.
    """

    answer: str
    unplaced: tuple[int, ...]
    unclear: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """What the working folder holds after a run.

    Attributes:
        items: that have a tagging and are up for review.
        without_tag: of these, those in whose answer no object was found.
        tags: that were placed.
        unplaced: annotated objects of these items that no mention was found of.
        unclear: mentions that fit several objects.
        filtered: whether `filter` ran; if not, all annotations were tagged.
        waiting: annotations that `filter` has no verdict on yet; they were left.
    """

    items: int
    without_tag: int
    tags: int
    unplaced: int
    unclear: int
    filtered: bool
    waiting: int


def tag_answers(workspace: Workspace) -> Summary:
    """Tags the answer of each annotation that `filter` kept, and of all where it didn't run.

    Raises:
        InputError: there is nothing to be tagged, a journal is damaged, or the data set is another one.
        RunError: the disk is full; the taggings so far are kept.
    """
    annotations, verdicts = workspace.annotations.last(), workspace.verdicts.last()
    if not annotations:
        raise InputError(f"{workspace.folder} holds no annotations; write them with: neuraltuning mmud annotate.")
    kept = {item: found for item, found in annotations.items() if not verdicts or item in verdicts}
    waiting = len(annotations) - len(kept)
    kept = {item: found for item, found in kept.items() if not verdicts or verdicts[item].kept}
    if not kept:
        raise InputError(f"{workspace.folder} holds no annotation that `neuraltuning mmud filter` kept.")
    with workspace.lock("tag"):
        before = workspace.taggings.last()
        order = [item for item in workspace.ids() if item in kept]
        todo = [item for item in order if not _is_tagged(before.get(item), kept[item])]
        for item in track(todo, "Tagging", console=Console(stderr=True), disable=not todo):
            sample = workspace.sample(item)
            found = place_tags(strip_tags(kept[item].answer), referents(sample.objects), sample.image.size)
            workspace.taggings.append(
                Tagging(id=item, answer=found.answer, unplaced=found.unplaced, unclear=found.unclear)
            )
        taggings = workspace.taggings.last()
    current = [taggings[item] for item in order]
    counts = [len(TAG.findall(tagging.answer)) for tagging in current]
    return Summary(
        items=len(current),
        without_tag=counts.count(0),
        tags=sum(counts),
        unplaced=sum(len(tagging.unplaced) for tagging in current),
        unclear=sum(len(tagging.unclear) for tagging in current),
        filtered=bool(verdicts),
        waiting=waiting,
    )


def place_tags(answer: str, objects: Sequence[Referent], size: tuple[int, int]) -> TaggedText:
    """Tags an answer.

    Args:
        answer: without tags.
        objects: of its image.
        size: the image's width and height.
    """
    words = split_words(answer)
    parts: list[str] = []
    unclear: list[str] = []
    placed: list[int] = []
    start = 0
    for meaning in resolve(words, objects, size):
        mention = meaning.mention
        end = words[mention.end - 1].end
        if not meaning.numbers:
            unclear.append(answer[words[mention.start].start : end])
            continue
        parts += [answer[start:end], *(f" <OBJ-{number}>" for number in meaning.numbers)]
        placed += meaning.numbers
        start = end
    missing = tuple(item.number for item in objects if item.number not in placed)
    return TaggedText("".join([*parts, answer[start:]]), missing, tuple(unclear))


def strip_tags(answer: str) -> str:
    """An answer without tags and the spaces before them."""
    return _TAG_AND_SPACE.sub("", answer)


def _is_tagged(tagging: Tagging | None, annotation: Annotation) -> bool:
    return tagging is not None and strip_tags(tagging.answer) == strip_tags(annotation.answer)
