"""Differences between two variants on the same items and seeds, with an interval and a p value.

The interval is a percentile bootstrap over both seeds and items (Efron and Tibshirani 1993): with three seeds it tells
roughly what other seeds would give. The p value is that of a sign-flip test over the items' means over seeds; it holds
for these seeds. Knows nothing of tasks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import permutation_test

from neuraltuning.errors import InputError

RESAMPLES = 4000
LEVEL = 0.95


@dataclass(frozen=True)
class PairedDifference:
    """How much higher one variant scores than another.

    Attributes:
        mean: of the items' differences.
        interval: [low, high], 95 %; None for a single item.
        p_value: two-sided, of no difference; None for a single item.
        by_seed: the mean difference of each seed.
        n_items, n_seeds: what it was taken over.
    """

    mean: float
    interval: tuple[float, float] | None
    p_value: float | None
    by_seed: tuple[float, ...]
    n_items: int
    n_seeds: int


def paired_difference(values: ArrayLike, reference: ArrayLike, *, seed: int = 0) -> PairedDifference:
    """Compares two variants.

    Args:
        values, reference: (S, N) scores of the same N items with the same S seeds.
        seed: of the resampling.

    Raises:
        InputError: the shapes differ, there is nothing to compare, or a score is no number.
    """
    ours, theirs = np.asarray(values, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if ours.ndim != 2 or ours.shape != theirs.shape or not ours.size:
        raise InputError(
            f"A comparison in pairs needs (seeds, items) scores of both variants, got {ours.shape} and {theirs.shape}: "
            "score both on the same items with the same seeds."
        )
    difference = ours - theirs
    if not np.isfinite(difference).all():
        raise InputError("A score to be compared is not a number: score the runs again.")
    n_seeds, n_items = difference.shape
    if n_items == 1:
        interval, p_value = None, None
    else:
        interval, p_value = _interval(difference, seed), _p_value(difference.mean(0), seed)
    return PairedDifference(
        float(difference.mean()), interval, p_value, tuple(difference.mean(1).tolist()), n_items, n_seeds
    )


def _interval(difference: np.ndarray, seed: int) -> tuple[float, float]:
    rng = np.random.default_rng(seed)
    n_seeds, n_items = difference.shape
    means = np.empty(RESAMPLES)
    for k in range(RESAMPLES):
        seeds, items = rng.integers(n_seeds, size=n_seeds), rng.integers(n_items, size=n_items)
        means[k] = difference[np.ix_(seeds, items)].mean()
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _p_value(difference: np.ndarray, seed: int) -> float:
    """Of the items' mean being zero, when the signs of items may be flipped."""
    if not difference.any():
        return 1.0
    tested = permutation_test(
        (difference,),
        lambda x, axis: x.mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        rng=np.random.default_rng(seed),
    )
    return float(tested.pvalue)
