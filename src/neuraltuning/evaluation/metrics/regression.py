"""Sentiment regression scores (CMU-MOSI, CMU-MOSEI): MAE, Pearson's r, Acc-7, Acc-2 and F1 in both variants.

    scores = RegressionScores()
    scores.add(1.2, 2.0)
    scores.compute()

Definitions as in MMSA (Yu et al. 2021), on labels in -3..3:

- Acc-7: both clipped to +-3 and rounded half away from zero, then compared.
- `acc2_has0`, `f1_has0`: not negative (>= 0) against negative, all items.
- `acc2_non0`, `f1_non0`: positive against the rest, items whose true label is exactly 0 left out.
- F1 is weighted by the true classes' sizes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from neuraltuning.errors import InputError
from neuraltuning.evaluation.metrics.interval import Floats, ItemStatistics, Score, divide

_VARIANTS = ("has0", "non0")
_CONFUSION = ("true_positive", "false_positive", "false_negative", "true_negative")
_COLUMNS = ("x", "y", "xx", "yy", "xy", "error", "acc7", "items")
_COLUMNS_OF_VARIANT = {variant: tuple(f"{cell}_{variant}" for cell in _CONFUSION) for variant in _VARIANTS}


class RegressionScores:
    """Streaming, mergeable regression scores of plain numbers."""

    def __init__(self) -> None:
        self._items = ItemStatistics((*_COLUMNS, *_COLUMNS_OF_VARIANT["has0"], *_COLUMNS_OF_VARIANT["non0"]))

    def __len__(self) -> int:
        return len(self._items)

    def add(self, predicted: float, true: float) -> dict[str, float]:
        """Takes in one prediction and its label; returns the absolute `error`.

        Raises:
            InputError: either isn't a finite number.
        """
        try:
            x, y = float(predicted), float(true)
        except (TypeError, ValueError):
            x = y = math.nan
        if not (math.isfinite(x) and math.isfinite(y)):
            raise InputError(f"Predictions and labels must be finite numbers, got {predicted!r} for {true!r}.")
        row = {"x": x, "y": y, "xx": x * x, "yy": y * y, "xy": x * y, "error": abs(x - y), "items": 1.0}
        row["acc7"] = float(_class_of_seven(x) == _class_of_seven(y))
        row[_cell("has0", x >= 0, y >= 0)] = 1.0
        if y != 0:
            row[_cell("non0", x > 0, y > 0)] = 1.0
        self._items.append(row)
        return {"error": row["error"]}

    def merge(self, other: RegressionScores) -> None:
        """Takes in everything that `other` collected."""
        self._items.extend(other._items)

    def compute(self) -> dict[str, Any]:
        """`mae`, `pearson` (-1..1, None where a side is constant), `acc7`, `acc2_*`, `f1_*` (0..1), and `n`."""
        mean = self._items.ratio
        functions: dict[str, Score] = {
            "mae": mean("error", "items"),
            "pearson": _pearson,
            "acc7": mean("acc7", "items"),
        }
        for variant in _VARIANTS:
            cells = [self._items.columns.index(column) for column in _COLUMNS_OF_VARIANT[variant]]
            functions |= {f"acc2_{variant}": _accuracy(cells), f"f1_{variant}": _weighted_f1(cells)}
        return {**self._items.scores(functions), "n": len(self)}


def _class_of_seven(value: float) -> int:
    clipped = min(3.0, max(-3.0, value))
    return int(math.copysign(math.floor(abs(clipped) + 0.5), clipped))


def _cell(variant: str, predicted: bool, true: bool) -> str:
    return f"{'true' if predicted == true else 'false'}_{'positive' if predicted else 'negative'}_{variant}"


def _pearson(sums: Floats) -> Floats:
    x, y, xx, yy, xy = sums[:, :5].T
    n = sums[:, _COLUMNS.index("items")]
    covariance, variance_x, variance_y = n * xy - x * y, n * xx - x * x, n * yy - y * y
    # Of a constant side rounding leaves a little variance that means nothing.
    constant = (variance_x <= 1e-12 * n * xx) | (variance_y <= 1e-12 * n * yy)
    return divide(covariance, np.where(constant, 0.0, np.sqrt(np.maximum(0.0, variance_x * variance_y))))


def _accuracy(cells: list[int]) -> Score:
    return lambda sums: divide(sums[:, cells[0]] + sums[:, cells[3]], sums[:, cells].sum(axis=1))


def _weighted_f1(cells: list[int]) -> Score:
    def score(sums: Floats) -> Floats:
        hit, false_positive, false_negative, rejected = sums[:, cells].T
        errors = false_positive + false_negative
        positive = np.nan_to_num(divide(2.0 * hit, 2.0 * hit + errors))
        negative = np.nan_to_num(divide(2.0 * rejected, 2.0 * rejected + errors))
        weighted = positive * (hit + false_negative) + negative * (rejected + false_positive)
        return divide(weighted, hit + errors + rejected)

    return score
