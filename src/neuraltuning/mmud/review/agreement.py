"""How far reviewers agree: on accepting, and on the tags of what both accepted.

    neuraltuning mmud review-agreement WORK

Knows nothing of files.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from neuraltuning.mmud.records import Review
from neuraltuning.mmud.review.answers import split_tags

DECISIONS = ("accept", "reject")

_LAST_WORD = re.compile(r"\w+(?=\W*$)")


@dataclass(frozen=True)
class Pair:
    """Two reviewers, or all pairs together.

    Attributes:
        reviewers: their names.
        items: how many both decided about (all pairs together: how many at least two did).
        equal: share of equal decisions; None without such items.
        kappa: the same beyond chance, at most 1; None where all decisions are one and the same, and chance is all.
        both_accepted: how many both accepted.
        tags: agreement on the tags of these, twice the common ones over all tags of both (Dice); None without tags.
    """

    reviewers: tuple[str, ...]
    items: int
    equal: float | None
    kappa: float | None
    both_accepted: int
    tags: float | None


@dataclass(frozen=True)
class Agreement:
    """Of all reviewers.

    Attributes:
        decisions: reviewer -> number of each decision.
        pairs: each two reviewers who share an item.
        together: all pairs pooled. Its kappa is Cohen's for two reviewers and Fleiss' for more; its `both_accepted`
            counts an item once for each pair.
    """

    decisions: dict[str, dict[str, int]]
    pairs: list[Pair]
    together: Pair


def agreement(decisions: Mapping[str, Mapping[str, Review]]) -> Agreement:
    """Compares reviewers.

    Args:
        decisions: item -> reviewer -> the person's last review of it.
    """
    reviewers = sorted({name for by_name in decisions.values() for name in by_name})
    counts = {
        name: {d: sum(r[name].decision == d for r in decisions.values() if name in r) for d in DECISIONS}
        for name in reviewers
    }
    pairs, everything = [], []
    for two in itertools.combinations(reviewers, 2):
        shared = [(by[two[0]], by[two[1]]) for by in decisions.values() if two[0] in by and two[1] in by]
        if shared:
            kappa = cohen_kappa([(first.decision, second.decision) for first, second in shared])
            pairs.append(_pair(two, len(shared), shared, kappa))
            everything += shared
    tables = [
        [sum(review.decision == d for review in by.values()) for d in DECISIONS]
        for by in decisions.values()
        if len(by) > 1
    ]
    kappa = pairs[0].kappa if len(pairs) == 1 and len(reviewers) == 2 else fleiss_kappa(tables)
    return Agreement(counts, pairs, _pair(tuple(reviewers), len(tables), everything, kappa))


def cohen_kappa(decisions: Sequence[tuple[str, str]]) -> float | None:
    """Cohen's kappa of two raters (1960): (p_o - p_e) / (1 - p_e) with p_e from each rater's own shares.

    Returns:
        it, or None where it isn't defined: no item, or only one decision from both.
    """
    if not decisions:
        return None
    size = len(decisions)
    first, second = (Counter(rater) for rater in zip(*decisions, strict=True))
    expected = sum(first[d] * second[d] for d in first) / size**2
    observed = sum(a == b for a, b in decisions) / size
    return None if expected == 1 else (observed - expected) / (1 - expected)


def fleiss_kappa(table: Sequence[Sequence[int]]) -> float | None:
    """Fleiss' kappa (1971), with each item's own number of raters.

    Args:
        table: for each item, how many raters chose each category; at least two raters an item.

    Returns:
        it, or None where it isn't defined: no item, or only one category.
    """
    if not table:
        return None
    total = sum(map(sum, table))
    expected = sum((sum(column) / total) ** 2 for column in zip(*table, strict=True))
    observed = sum(sum(n * (n - 1) for n in row) / (sum(row) * (sum(row) - 1)) for row in table) / len(table)
    return None if expected == 1 else (observed - expected) / (1 - expected)


def _pair(names: tuple[str, ...], items: int, shared: list[tuple[Review, Review]], kappa: float | None) -> Pair:
    equal = sum(first.decision == second.decision for first, second in shared)
    accepted = [both for both in shared if all(review.decision == "accept" for review in both)]
    common = total = 0
    for first, second in accepted:
        ours, theirs = _tags(first.answer), _tags(second.answer)
        common += len(ours & theirs)
        total += len(ours) + len(theirs)
    return Pair(
        reviewers=names,
        items=items,
        equal=equal / len(shared) if shared else None,
        kappa=kappa,
        both_accepted=len(accepted),
        tags=2 * common / total if total else None,
    )


def _tags(answer: str) -> set[tuple[int, str, int]]:
    """Each tag as its object, the word before it, and how many-th of its kind that word is: an edit elsewhere in the
    text leaves it the same."""
    text, tags = split_tags(answer)
    found = set()
    for tag in tags:
        before = text[: tag.at].lower()
        match = _LAST_WORD.search(before)
        word = match[0] if match else ""
        found.add((tag.number, word, len(re.findall(rf"\b{re.escape(word)}\b", before))))
    return found
