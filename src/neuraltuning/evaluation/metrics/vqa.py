"""VQA accuracy: VQAv2's consensus measure with its answer normalization (Antol et al. 2015; Goyal et al. 2017).

Two variants, each under its own name, since published codes differ and the difference is worth points:

- `accuracy`: the official script's present form. Answers are normalized only where the annotators disagree; where all
  ten agree, raw text is compared ("Yes" is not "yes").
- `accuracy_always_normalise`: prediction and annotations are normalized always (TextVQA, most open models' codes).

A question with fewer than four annotations, such as the one right answer of a synthetic set, has no consensus to
measure: there the prediction must equal one of them after normalization, in both variants.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from neuraltuning.errors import InputError
from neuraltuning.evaluation.metrics.interval import ItemStatistics

if TYPE_CHECKING:
    from neuraltuning.reply import Reply
    from neuraltuning.tasks.base import Example

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_PERIOD = re.compile(r"\.(?!\d)")
_PERIODS_STRIPPED = 32  # the official script passes a flag where `re.sub` takes a count; long answers keep the rest
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
_NUMBERS = {"none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5"}
_NUMBERS |= {"six": "6", "seven": "7", "eight": "8", "nine": "9", "ten": "10"}
_ARTICLES = frozenset(("a", "an", "the"))
_CONTRACTED = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've
    he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've
    o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's
    someone'd someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've
    there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's
    what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've
    wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""
_CONTRACTIONS = {
    word[:place] + word[place + 1 :]: word
    for word in _CONTRACTED.split()
    for place, character in enumerate(word)
    if character == "'"
}
_CONTRACTIONS["somebody'd"] = "somebodyd"  # a slip of the official table that annotations are scored with
"""Contractions written with one apostrophe too few -> as they should be."""

_CONSENSUS_ANSWERS = 4  # fewer annotations could not give a right answer the full 1.0


class VQAScores:
    """Streaming, mergeable VQA accuracies of plain strings."""

    def __init__(self) -> None:
        self._items = ItemStatistics(("official", "always", "items"))

    def __len__(self) -> int:
        return len(self._items)

    def add(self, predicted: str, answers: Sequence[str]) -> dict[str, float]:
        """Takes in one predicted answer and its question's annotated ones (ten in VQAv2); returns both accuracies.

        Raises:
            InputError: there is no annotated answer, or they are all blank (test splits come so).
        """
        if isinstance(answers, str) or not any(answer.strip() for answer in answers):
            raise InputError(f"A question needs a list of annotated answers to be scored against, got {answers!r}.")
        official = vqa_accuracy(predicted, answers, always_normalise=False)
        always = vqa_accuracy(predicted, answers, always_normalise=True)
        self._items.append({"official": official, "always": always, "items": 1.0})
        return {"accuracy": official, "accuracy_always_normalise": always}

    def merge(self, other: VQAScores) -> None:
        """Takes in everything that `other` collected."""
        self._items.extend(other._items)

    def compute(self) -> dict[str, Any]:
        """`accuracy` (official variant) and `accuracy_always_normalise` in 0..1 with intervals, and `n`."""
        mean = self._items.ratio
        scores = {"accuracy": mean("official", "items"), "accuracy_always_normalise": mean("always", "items")}
        return {**self._items.scores(scores), "n": len(self)}


class VQAMetric:
    """Scores the text of replies against the annotated answers of their examples, over all and by kind of question."""

    def __init__(self) -> None:
        self._all = VQAScores()
        self._by_kind: dict[str, VQAScores] = {}

    def update(self, example: Example, reply: Reply) -> dict[str, float]:
        """Takes in one reply; returns its `accuracy` (official variant)."""
        answers = example.references or (example.reply,)
        if example.kind:
            self._by_kind.setdefault(example.kind, VQAScores()).add(reply.text, answers)
        return {"accuracy": self._all.add(reply.text, answers)["accuracy"]}

    def merge(self, other: VQAMetric) -> None:
        self._all.merge(other._all)
        for kind, scores in other._by_kind.items():
            self._by_kind.setdefault(kind, VQAScores()).merge(scores)

    def compute(self) -> dict[str, Any]:
        """`VQAScores.compute`, and the same for each kind of question under `by_kind`."""
        by_kind = {kind: self._by_kind[kind].compute() for kind in sorted(self._by_kind)}
        return {**self._all.compute(), **({"by_kind": by_kind} if by_kind else {})}


def vqa_accuracy(predicted: str, answers: Sequence[str], *, always_normalise: bool) -> float:
    """Mean over the annotators of min(matches among the other annotators / 3, 1).

    Args:
        predicted: the model's answer.
        answers: the annotated answers; with fewer than four, 1.0 if the prediction equals any of them, normalized.
        always_normalise: normalize also where all annotators gave the same answer.
    """
    predicted, annotated = _clean(predicted), [_clean(answer) for answer in answers]
    if len(annotated) < _CONSENSUS_ANSWERS:
        return float(normalize_answer(predicted) in map(normalize_answer, annotated))
    if always_normalise or len(set(annotated)) > 1:
        predicted, annotated = normalize_answer(predicted), [normalize_answer(answer) for answer in annotated]
    matches = sum(answer == predicted for answer in annotated)
    # Leaving out an annotator who agrees leaves one match fewer.
    leave_out = [matches - (answer == predicted) for answer in annotated]
    return sum(min(1.0, others / 3.0) for others in leave_out) / len(leave_out)


def normalize_answer(answer: str) -> str:
    """VQAv2's normalization: punctuation, lower case, number words, articles, contractions, in that order."""
    text = _clean(answer)
    joined_number = _COMMA_IN_NUMBER.search(text) is not None
    stripped = text
    for mark in _PUNCTUATION:
        at_a_word_end = f"{mark} " in text or f" {mark}" in text
        stripped = stripped.replace(mark, "" if at_a_word_end or joined_number else " ")
    stripped = _PERIOD.sub("", stripped, count=_PERIODS_STRIPPED)
    words = [_NUMBERS.get(word, word) for word in stripped.lower().split()]
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def _clean(answer: str) -> str:
    return answer.replace("\n", " ").replace("\t", " ").strip()
