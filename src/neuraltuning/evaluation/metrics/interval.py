"""Item statistics that add up, and bootstrap intervals of any score that is a function of their sums.

Every accumulator of this package stores one row of additive statistics per item (a reply): intersection and union,
matched n-grams, hits. A corpus score is a function of the rows' sum (oIoU = sum of intersections / sum of unions,
BLEU, micro F1, Pearson's r, plain means), so that resampling items with replacement, adding up and applying the same
function gives the percentile bootstrap (Efron and Tibshirani 1993, chapter 13) of every score at once. Two metrics
merge by joining their rows. Rows are sorted before they are used: the order in which items arrived, or the number of
processes that collected them, changes no digit.

Knows nothing of tasks, images or texts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
SEED = 0
LEVEL = 0.95
CHUNK_SIZE = 4_000_000
"""Draws that are held in memory at once."""

Floats = NDArray[np.float64]
Score = Callable[[Floats], Floats]
"""(R, K) sums of item statistics -> (R,) scores; NaN where a score is undefined."""


class ItemStatistics:
    """Rows of additive per-item statistics under named columns.

    Args:
        columns: names of the K statistics.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = tuple(columns)
        self._rows: list[tuple[float, ...]] = []

    def __len__(self) -> int:
        return len(self._rows)

    def append(self, row: Mapping[str, float]) -> None:
        """Adds an item; a column that `row` doesn't name counts 0."""
        unknown = row.keys() - set(self.columns)
        if unknown:
            raise KeyError(f"No such statistics: {sorted(unknown)}; there are {self.columns}.")
        self._rows.append(tuple(float(row.get(column, 0.0)) for column in self.columns))

    def extend(self, other: ItemStatistics) -> None:
        """Adds all items of `other`, which has the same columns."""
        if other.columns != self.columns:
            raise ValueError(f"Can't merge statistics {other.columns} into {self.columns}.")
        self._rows.extend(other._rows)

    def table(self) -> Floats:
        """(N, K) the rows in the order of arrival."""
        return np.array(self._rows, dtype=np.float64).reshape(-1, len(self.columns))

    def total(self, column: str) -> float:
        """The sum of one statistic over all items."""
        return float(sum(sorted(row[self.columns.index(column)] for row in self._rows)))

    def ratio(self, numerator: str, denominator: str) -> Score:
        """The score sum(numerator) / sum(denominator), undefined where the denominator is 0."""
        top, bottom = self.columns.index(numerator), self.columns.index(denominator)
        return lambda sums: divide(sums[:, top], sums[:, bottom])

    def scores(self, functions: Mapping[str, Score]) -> dict[str, Any]:
        """Every score with its interval.

        Args:
            functions: name -> score as a function of sums.

        Returns:
            for each name: `name` (float, None where undefined) and `name_ci95` ([low, high], None where the score is
            undefined or a single item tells nothing of the spread).
        """
        table = canonical(self.table())
        totals = table.sum(axis=0, keepdims=True)
        resampled = resample_sums(table) if len(table) > 1 else None
        result: dict[str, Any] = {}
        for name, function in functions.items():
            value = float(function(totals)[0])
            undefined = np.isnan(value)
            result[name] = None if undefined else value
            result[f"{name}_ci95"] = (
                None if undefined or resampled is None else percentile_interval(function(resampled))
            )
        return result


def canonical(rows: Floats) -> Floats:
    """(N, K) rows in ascending order, so that nothing depends on the order of arrival."""
    return rows[np.lexsort(rows.T[::-1])] if rows.size else rows


def resample_sums(rows: Floats, *, resamples: int = RESAMPLES, seed: int = SEED) -> Floats:
    """Sums over items drawn with replacement.

    Args:
        rows: (N, K) item statistics, N > 0.
        resamples: R, how many times N items are drawn.
        seed: of the draws.

    Returns:
        (R, K).
    """
    chunk = max(1, min(resamples, CHUNK_SIZE // len(rows)))
    rng = np.random.default_rng(seed)
    sizes = [min(chunk, resamples - start) for start in range(0, resamples, chunk)]
    return np.concatenate([_draw(rng, len(rows), size) @ rows for size in sizes])


def resample_counts(n: int, *, resamples: int, seed: int = SEED) -> Floats:
    """(R, n) how often each of n items is drawn in each of R resamples."""
    return _draw(np.random.default_rng(seed), n, resamples)


def _draw(rng: np.random.Generator, n: int, resamples: int) -> Floats:
    drawn = rng.integers(n, size=(resamples, n)) + np.arange(resamples)[:, None] * n
    return np.bincount(drawn.ravel(), minlength=resamples * n).reshape(resamples, n).astype(np.float64)


def percentile_interval(values: Floats, *, level: float = LEVEL) -> list[float] | None:
    """[low, high]: the central `level` of (R,) resampled scores; undefined ones are left out, None if all are."""
    values = values[~np.isnan(values)]
    if values.size == 0:
        return None
    low, high = np.quantile(values, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return [float(low), float(high)]


def bootstrap_interval(
    numerators: Sequence[float] | Floats, denominators: Sequence[float] | Floats | None = None
) -> list[float] | None:
    """The 95 % bootstrap interval of a mean, or of a ratio of sums, over items.

    Args:
        numerators: (N,) one value an item.
        denominators: (N,) for sum(numerators) / sum(denominators); without them the mean of `numerators`.

    Returns:
        [low, high], or None for fewer than two items.
    """
    top = np.asarray(numerators, dtype=np.float64)
    bottom = np.ones_like(top) if denominators is None else np.asarray(denominators, dtype=np.float64)
    if top.ndim != 1 or top.shape != bottom.shape:
        raise ValueError(f"Need one value an item in each list, got shapes {top.shape} and {bottom.shape}.")
    if top.size < 2:
        return None
    sums = resample_sums(canonical(np.stack([top, bottom], axis=1)))
    return percentile_interval(divide(sums[:, 0], sums[:, 1]))


def divide(numerator: Floats, denominator: Floats) -> Floats:
    """Element-wise quotient, NaN where the denominator is 0."""
    result = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    return np.divide(numerator, denominator, out=result, where=denominator != 0)
