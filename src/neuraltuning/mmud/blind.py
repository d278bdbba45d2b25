"""The third rule of the journal paper's appendix A.1: answers that nobody needs the image for.

A model that sees no image answers the question. Its answer agrees with the item's where

- the same annotated objects are named in both, those of the question left out, and
- half of what the item's answer says beyond the question stands in it too: its content words, a final s not counting.

An answer that says nothing beyond its question agrees with any. Knows nothing of who answers.
"""

from __future__ import annotations

from collections.abc import Collection

from neuraltuning.evaluation.metrics.object_names import ObjectNames
from neuraltuning.mmud.meaning import words

AGREEMENT = 0.5
"""Share of the content words from which on two answers agree."""

_LIST = (
    "a an the this that these those it its it's he him his she her hers they them their theirs we us our you your i me "
    "my and or but nor so if then than as because since while although though whether also too very just only of in on "
    "at to for from by with into onto over under about between through during within is are was were be been being am "
    "do does did done has have had having can could will would shall should may might must there here what which who "
    "whom whose when where why how all any both each some such other one ones image picture photo scene likely "
    "probably seems seem appears appear"
)
_FUNCTION_WORDS = frozenset(_LIST.split())
"""Words that an answer is not known by; "yes", "no" and "not" are none, nor are places ("left")."""


def agreement(question: str, reference: str, answer: str, categories: Collection[str]) -> str | None:
    """How an answer agrees with the reference, as the detail of a rejection, or None.

    Args:
        question: that both answer.
        reference: the item's answer.
        answer: of the model that saw no image.
        categories: of the annotated objects.
    """
    names = ObjectNames(category for category in categories if category)
    given = names.find(question)
    meant, named = names.find(reference) - given, names.find(answer) - given
    said = _content(reference) - _content(question)
    if not said:
        return "the answer says nothing that its question doesn't"
    shared = said & _content(answer)
    if meant != named or len(shared) < AGREEMENT * len(said):
        return None
    objects = f", and names {', '.join(sorted(meant))}" if meant else ""
    return f"{answer!r} has {len(shared)} of the {len(said)} content words of the answer{objects}"


def _content(text: str) -> set[str]:
    return {_stem(word) for word in words(text.replace("\u2019", "'")) if word not in _FUNCTION_WORDS}


def _stem(word: str) -> str:
    word = word.removesuffix("'s")
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word
