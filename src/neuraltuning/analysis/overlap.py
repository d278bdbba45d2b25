"""How much tasks share the neurons of a sparse task network, and whether related tasks share more (figure 2b).

Works on *rates*: the share of an example's tokens at which a neuron was active. A task's frequencies are the means of
its examples' rates, so that a long reply counts no more than a short one. Two measures of what two tasks share, each
taken in every layer and averaged over layers:

- *Jaccard*: neurons active in both over neurons active in either, where a neuron counts as active for a task if its
  frequency reaches a threshold.
- *rank correlation*: Spearman's, of the frequencies of all neurons; no threshold.

Knows arrays and names, nothing of models or data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import hypergeom, rankdata

from neuraltuning.evaluation.metrics.interval import divide, percentile_interval, resample_counts

RESAMPLES = 500
PERMUTATIONS = 1000
SEED = 0
ROUNDING = 1e-9
CHUNK = 100
"""Frequencies of two tasks that are held in memory at once."""

Floats = NDArray[np.float64]
Measure = Callable[[Floats, Floats], Floats]
"""(..., L, d_z) frequencies of two tasks -> (...) what they share; NaN where that is undefined in every layer."""

PERMUTED = (
    "Within each image, which of the two tasks' examples is called the one's and which the other's, "
    "with probability one half"
)


@dataclass(frozen=True, eq=False)
class Rates:
    """How often neurons were active, by example.

    Attributes:
        tasks: K names.
        layers: L numbers of tuned layers.
        values: (N, K, L, d_z) float32 in 0..1 for one example of each task on each of N images; NaN where an image has
            no example of a task.
        tokens: (N, K) int64, how many tokens a rate is taken over.
    """

    tasks: tuple[str, ...]
    layers: tuple[int, ...]
    values: NDArray[np.float32]
    tokens: NDArray[np.int64]

    def of(self, task: str) -> NDArray[np.float32]:
        """(N, L, d_z) the rates of one task."""
        return self.values[:, self.tasks.index(task)]

    def frequencies(self) -> Floats:
        """(K, L, d_z) the mean rates of each task."""
        return np.nanmean(self.values, axis=0, dtype=np.float64)


@dataclass(frozen=True)
class Comparison:
    """Whether a task shares more with its relative than with another task, tested on images that have all three.

    Attributes:
        anchor, relative, other: the tasks.
        difference: what anchor and relative share less what anchor and other share.
        p: one-sided, of the permutation test: the share of relabellings with at least this difference.
        n: images.
    """

    anchor: str
    relative: str
    other: str
    difference: float
    p: float
    n: int


def is_active(frequencies: Floats, threshold: float) -> NDArray[np.bool_]:
    """Whether neurons count as active; a frequency that only rounding keeps below the threshold reaches it."""
    reached: NDArray[np.bool_] = frequencies >= threshold - ROUNDING
    return reached


def jaccard(threshold: float) -> Measure:
    """The Jaccard index of the neurons whose frequency reaches `threshold`, averaged over layers."""

    def measure(first: Floats, second: Floats) -> Floats:
        return _over_layers(jaccard_by_layer(first, second, threshold))

    return measure


def jaccard_by_layer(first: Floats, second: Floats, threshold: float) -> Floats:
    """(..., L, d_z) frequencies of two tasks -> (..., L); NaN where neither has an active neuron."""
    a, b = is_active(first, threshold), is_active(second, threshold)
    return divide((a & b).sum(-1).astype(np.float64), (a | b).sum(-1).astype(np.float64))


def rank_correlation(first: Floats, second: Floats) -> Floats:
    """Spearman's rank correlation of the frequencies of all neurons, averaged over layers."""
    ranks = [rankdata(frequencies, axis=-1) for frequencies in (first, second)]
    a, b = (rank - rank.mean(-1, keepdims=True) for rank in ranks)
    return _over_layers(divide((a * b).sum(-1), np.sqrt((a * a).sum(-1) * (b * b).sum(-1))))


def chance_jaccard(first: Floats, second: Floats, threshold: float) -> float:
    """The expected Jaccard index of sets as large as two tasks' active ones that have nothing to do with each other.

    Args:
        first, second: (L, d_z) frequencies.
    """
    expected = []
    for a, b in zip(is_active(first, threshold).sum(-1), is_active(second, threshold).sum(-1), strict=True):
        shared = np.arange(min(a, b) + 1)
        if a + b:
            expected.append(float(hypergeom.pmf(shared, first.shape[-1], a, b) @ (shared / (a + b - shared))))
    return float(np.mean(expected)) if expected else float("nan")


def census(frequencies: Floats, threshold: float, never_below: float) -> dict[str, list[int]]:
    """How many neurons of each layer are shared by how many tasks.

    Args:
        frequencies: (K, L, d_z).
        threshold: a neuron is active for a task from this frequency on.
        never_below: a neuron is never used if its frequency stays below this in every task.

    Returns:
        Five lists of L counts that add up to d_z: "shared" (active for every task), "several" (for some, not all),
        "specific" (for one), "rare" (for none, but used) and "never".
    """
    tasks = is_active(frequencies, threshold).sum(0)
    never = (frequencies < never_below).all(0)
    kinds = {
        "shared": tasks == len(frequencies),
        "several": (tasks > 1) & (tasks < len(frequencies)),
        "specific": (tasks == 1) & (len(frequencies) > 1),
        "rare": (tasks == 0) & ~never,
        "never": never,
    }
    return {name: found.sum(-1).tolist() for name, found in kinds.items()}


def overlap(rates: Rates, first: str, second: str, measure: Measure) -> tuple[float, list[float] | None]:
    """What two tasks share, with its 95 % bootstrap interval over images (None where there are fewer than two)."""
    both = np.stack([rates.of(first), rates.of(second)], axis=1)
    means: Floats = np.nanmean(both, axis=0, dtype=np.float64)
    value = float(measure(means[0], means[1]))
    if len(both) < 2:
        return value, None
    counts = resample_counts(len(both), resamples=RESAMPLES, seed=SEED)
    return value, percentile_interval(_measured(both, counts, measure))


def compare(rates: Rates, anchor: str, relative: str, other: str, measure: Measure) -> Comparison:
    """Tests that `anchor` shares more with `relative` than with `other`.

    The hypothesis that is tested: what is active in an image's example of `relative` and in its example of `other` is
    the same to `anchor`, so that the two may change their names in any image (`PERMUTED`). The images are one another's
    replicates; a p value says nothing of tasks or models that were not run.
    """
    values = np.stack([rates.of(task) for task in (anchor, relative, other)], axis=1)
    values = values[~np.isnan(values).any(axis=(1, 2, 3))].astype(np.float64)
    if not len(values):
        return Comparison(anchor, relative, other, float("nan"), float("nan"), 0)
    fixed, near, far = values.mean(axis=0)
    observed = float(measure(fixed, near) - measure(fixed, far))
    swaps = np.random.default_rng(SEED).integers(2, size=(PERMUTATIONS, len(values))).astype(np.float64)
    apart = (values[:, 2] - values[:, 1]).reshape(len(values), -1) / len(values)
    at_least = 0
    for start in range(0, PERMUTATIONS, CHUNK):
        moved = (swaps[start : start + CHUNK] @ apart).reshape(-1, *fixed.shape)
        statistic = measure(fixed[None], near + moved) - measure(fixed[None], far - moved)
        at_least += int((statistic >= observed - ROUNDING).sum())
    return Comparison(anchor, relative, other, observed, (1 + at_least) / (1 + PERMUTATIONS), len(values))


def relatives_share_more(rates: Rates, related: tuple[str, str], measure: Measure) -> dict[str, Any]:
    """Tests the papers' claim for one pair of related tasks: each shares more with the other than with any third.

    Returns:
        `comparisons` (each task of the pair against each third task); `p`, the largest of theirs, because the claim
        needs all of them (an intersection-union test, which needs no correction for their number); `rank`, the pair's
        place among all `pairs` by what it shares; `p_of_rank`, what permuting which pair is called related gives:
        rank / pairs, which can't be below 1 / pairs.
    """
    first, second = related
    thirds = [task for task in rates.tasks if task not in related]
    comparisons = [
        compare(rates, a, b, third, measure) for a, b in ((first, second), (second, first)) for third in thirds
    ]
    frequencies = dict(zip(rates.tasks, rates.frequencies(), strict=True))
    shared = {pair: float(measure(*(frequencies[task] for task in pair))) for pair in pairs(rates.tasks)}
    own = shared[next(pair for pair in shared if set(pair) == set(related))]
    rank = sum(value >= own for value in shared.values())
    return {
        "comparisons": comparisons,
        "p": max((comparison.p for comparison in comparisons), default=float("nan")),
        "rank": rank,
        "pairs": len(shared),
        "p_of_rank": rank / len(shared),
    }


def pairs(tasks: Sequence[str]) -> list[tuple[str, str]]:
    """All pairs of tasks, in their order."""
    return list(combinations(tasks, 2))


def gain(
    tuned: Rates, untuned: Rates, anchor: str, relative: str, other: str, measure: Measure
) -> tuple[float, list[float] | None]:
    """By how much tuning raised the difference of a `Comparison`, with the 95 % bootstrap interval over images.

    The two are rates of the same examples, so that what their texts alone make of them falls out.
    """
    stacked = [np.stack([rates.of(task) for task in (anchor, relative, other)], axis=1) for rates in (tuned, untuned)]
    whole = ~np.isnan(stacked[0]).any(axis=(1, 2, 3))
    if not whole.any():
        return float("nan"), None
    n = int(whole.sum())
    counts = np.concatenate([np.ones((1, n)), resample_counts(n, resamples=RESAMPLES, seed=SEED)])
    after, before = (
        _measured(values[whole][:, [0, 1]], counts, measure) - _measured(values[whole][:, [0, 2]], counts, measure)
        for values in stacked
    )
    difference = after - before
    return float(difference[0]), percentile_interval(difference[1:]) if n > 1 else None


def _measured(both: NDArray[np.float32], counts: Floats, measure: Measure) -> Floats:
    """What two tasks share in each resample: (N, 2, L, d_z) rates and (R, N) how often each image counts -> (R,)."""
    known = ~np.isnan(both[..., :1, :1])
    flat = np.nan_to_num(both).astype(np.float64).reshape(len(both), -1)
    weights = counts @ known.reshape(len(both), 2).astype(np.float64)
    found = []
    for start in range(0, len(counts), CHUNK):
        part = slice(start, start + CHUNK)
        sums = (counts[part] @ flat).reshape(-1, *both.shape[1:])
        means = divide(sums, np.broadcast_to(weights[part, :, None, None], sums.shape))
        found.append(measure(means[:, 0], means[:, 1]))
    return np.concatenate(found)


def _over_layers(values: Floats) -> Floats:
    """(..., L) -> (...), the mean of the layers in which a measure is defined."""
    defined = ~np.isnan(values)
    return divide(np.nan_to_num(values).sum(-1), defined.sum(-1).astype(np.float64))
