"""Feeding whole lists of predictions to a metric, so that none is lost where the lists differ in length.

    add_all(scores, predictions, references)

Works with every class of this package that has `add(predicted, true)`; knows nothing of what it adds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from neuraltuning.errors import InputError


class Scores(Protocol):
    """What takes in a prediction and what it is scored against."""

    def add(self, predicted: Any, true: Any) -> Any:
        """Takes in one item."""


def add_all(scores: Scores, predictions: Sequence[Any], references: Sequence[Any]) -> None:
    """Takes in item after item.

    Raises:
        InputError: the lists differ in length, and nothing is taken in; or an item is unusable, which is named by its
            place, and those before it are in.
    """
    if len(predictions) != len(references):
        raise InputError(
            f"There are {len(predictions):,} predictions for {len(references):,} references: give one for each, in the "
            "same order."
        )
    for place, (predicted, true) in enumerate(zip(predictions, references, strict=True), start=1):
        try:
            scores.add(predicted, true)
        except InputError as error:
            raise InputError(f"Item {place}: {error}") from error
