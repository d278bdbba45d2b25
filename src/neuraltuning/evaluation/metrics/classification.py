"""Accuracy of replies that name a class (SNLI-VE, UPMC Food-101).

    scores = ClassificationScores()
    scores.add("Entailment.", "entailment")
    scores.compute()                                  # {"accuracy": 1.0, "accuracy_ci95": None, "n": 1}

Case, underscores, outer blanks and a final full stop make no difference: "apple_pie" is "Apple pie.".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from neuraltuning.errors import InputError
from neuraltuning.evaluation.metrics.interval import ItemStatistics

if TYPE_CHECKING:
    from neuraltuning.reply import Reply
    from neuraltuning.tasks.base import Example


class ClassificationScores:
    """Streaming, mergeable accuracy of class labels."""

    def __init__(self) -> None:
        self._items = ItemStatistics(("right", "items"))

    def __len__(self) -> int:
        return len(self._items)

    def add(self, predicted: str, true: str) -> dict[str, float]:
        """Takes in one predicted label and the right one; returns its `accuracy`, 0 or 1.

        Raises:
            InputError: the right label is empty.
        """
        if not normalize_label(true):
            raise InputError("The right label of an item is empty.")
        right = float(normalize_label(predicted) == normalize_label(true))
        self._items.append({"right": right, "items": 1.0})
        return {"accuracy": right}

    def merge(self, other: ClassificationScores) -> None:
        """Takes in everything that `other` collected."""
        self._items.extend(other._items)

    def compute(self) -> dict[str, Any]:
        """`accuracy` in 0..1 with its interval, and `n`."""
        return {**self._items.scores({"accuracy": self._items.ratio("right", "items")}), "n": len(self)}


class ClassificationMetric:
    """Scores the text of replies against the first reference of their examples."""

    def __init__(self) -> None:
        self._scores = ClassificationScores()

    def update(self, example: Example, reply: Reply) -> dict[str, float]:
        """Takes in one reply; returns its `accuracy`, 0 or 1."""
        return self._scores.add(reply.text, (example.references or (example.reply,))[0])

    def merge(self, other: ClassificationMetric) -> None:
        self._scores.merge(other._scores)

    def compute(self) -> dict[str, Any]:
        """`ClassificationScores.compute`."""
        return self._scores.compute()


def normalize_label(label: str) -> str:
    """A label as it is compared: "apple_pie" and " Apple pie." are both "apple pie"."""
    return " ".join(label.replace("_", " ").strip().removesuffix(".").casefold().split())
