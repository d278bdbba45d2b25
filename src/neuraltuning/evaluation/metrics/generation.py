"""Scores of generated pictures: FID, KID, IS, and how often a picture's target is found among 16.

All of them look at the features of a *named* network (`image_features.py`), and the name is part of the score's name:
`fid_efficientnet-lite0` is no `fid_inception-v3`. FID on few pictures is biased upwards (by more than most models
differ by below some thousands), so `n` and KID, which is unbiased, stand beside it.

    metric = GenerationMetric(named_features("efficientnet-lite0"))
    metric.update(example, reply)
    metric.compute()

Sources: FID, Heusel et al. 2017; KID, Binkowski et al. 2018 (polynomial kernel, degree 3); IS, Salimans et al. 2016.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from neuraltuning.errors import InputError
from neuraltuning.evaluation.metrics.image_features import BATCH_SIZE, FeatureExtractor, named_features
from neuraltuning.evaluation.metrics.interval import (
    SEED,
    Floats,
    bootstrap_interval,
    divide,
    percentile_interval,
    resample_counts,
)

if TYPE_CHECKING:
    from neuraltuning.reply import Reply
    from neuraltuning.tasks.base import Example

CANDIDATES = 16
KID_SUBSETS = 100
KID_SUBSET_SIZE = 1000
SPLITS = 10
"""Parts of the pictures over which the inception score is averaged."""
KID_RESAMPLES = 200
FID_RESAMPLES = 100
INTERVAL_IMAGES = 1000
"""Intervals of FID and KID work on matrices as large as a resample, so no more pictures are drawn for one."""


class GenerationScores:
    """Streaming, mergeable scores of feature vectors. Keeps the features: 4 kB a picture at 512 numbers."""

    def __init__(self) -> None:
        self._targets: dict[str, Floats] = {}
        self._generated: dict[str, Floats] = {}
        self._logits: dict[str, Floats] = {}

    def __len__(self) -> int:
        return len(self._targets)

    def add(self, id: str, target: ArrayLike, generated: ArrayLike | None, logits: ArrayLike | None = None) -> None:
        """Takes in one item.

        Args:
            id: unique; distractors are drawn from the items in the order of their ids.
            target: (E,) features of the picture asked for.
            generated: (E,) features of the picture drawn, None if there is none.
            logits: (C,) classifier logits of the picture drawn, where there is a classifier.

        Raises:
            InputError: the id was there before, a size differs, or a feature or logit isn't finite.
        """
        if id in self._targets:
            raise InputError(f"The generated picture {id!r} is scored twice: ids must be unique.")
        wanted = _checked(f"The target of the picture {id!r}", target, self._targets)
        known = self._targets or {id: wanted}
        drawn = None if generated is None else _checked(f"The picture {id!r}", generated, known)
        classes = None if logits is None else _checked(f"The classifier on the picture {id!r}", logits, self._logits)
        self._targets[id] = wanted
        if drawn is not None:
            self._generated[id] = drawn
        if classes is not None:
            self._logits[id] = classes

    def merge(self, other: GenerationScores) -> None:
        """Takes in everything that `other` collected."""
        twice = self._targets.keys() & other._targets.keys()
        if twice:
            raise InputError(f"The generated picture {min(twice)!r} is scored twice: ids must be unique.")
        self._targets |= other._targets
        self._generated |= other._generated
        self._logits |= other._logits

    def compute(self, name: str) -> dict[str, Any]:
        """All scores over features of the network `name`.

        Returns:
            `fid_<name>`, `kid_<name>`, where there are logits `is_<name>` with `is_<name>_std`, `among_16` with
            `among_16_chance`, `drawn` (the share of items with a picture), intervals, `n`, `n_drawn`, and under
            `missing` why a score is None.
        """
        result: dict[str, Any] = {}
        missing: dict[str, str] = {}
        count = len(self._generated)
        targets, generated = _stack(self._targets), _stack(self._generated)
        fid, kid = f"fid_{name}", f"kid_{name}"
        if count < 2:
            reason = f"FID and KID compare distributions and need at least two pictures; {count} of {len(self)} exist."
            missing |= {fid: reason, kid: reason}
        else:
            # Resampled counts belong to items; of those, only some have a picture.
            drawn = np.array([id in self._generated for id in sorted(self._targets)])
            result[fid] = frechet_distance(targets, generated)
            result[f"{fid}_ci95"] = _frechet_interval(result[fid], targets, generated, drawn)
            result[kid] = kernel_distance(targets, generated)
            result[f"{kid}_ci95"] = _kernel_interval(result[kid], targets, generated, drawn)
        if len(self._logits) >= SPLITS:
            parts = _inception_scores(_stack(self._logits), SPLITS, SEED)
            result |= {f"is_{name}": float(parts.mean()), f"is_{name}_std": float(parts.std())}
            result[f"is_{name}_ci95"] = bootstrap_interval(parts)
        elif self._logits:
            missing[f"is_{name}"] = (
                f"The inception score is a mean over {SPLITS} parts and needs at least {SPLITS} pictures; {count} of "
                f"{len(self)} exist."
            )

        hits = self.among()
        if hits:
            values = np.array([float(hit) for hit in hits.values()])
            result |= {f"among_{CANDIDATES}": float(values.mean())}
            result[f"among_{CANDIDATES}_ci95"] = bootstrap_interval(values)
        else:
            missing[f"among_{CANDIDATES}"] = (
                f"Finding a target among {CANDIDATES} needs at least {CANDIDATES} items; there are {len(self)}."
            )
        result[f"among_{CANDIDATES}_chance"] = 1.0 / CANDIDATES
        result["drawn"] = count / len(self) if len(self) else None
        result["drawn_ci95"] = bootstrap_interval([float(id in self._generated) for id in self._targets])
        for score in missing:
            result |= {score: None, f"{score}_ci95": None}
        result |= {"n": len(self), "n_drawn": count, "encoder": name}
        return {**result, **({"missing": missing} if missing else {})}

    def among(self) -> dict[str, bool]:
        """For each item, whether its target is nearer to the drawn picture than 15 other targets are.

        Nearness is the cosine after centring all features with the mean of the targets. The distractors are drawn from
        the items sorted by id with seed 0, so every model meets the same ones. Ties, duplicate targets among them, and
        missing pictures are wrong. Empty with fewer than 16 items.
        """
        ids = sorted(self._targets)
        if len(ids) < CANDIDATES:
            return {}
        targets = _stack(self._targets)
        center = targets.mean(axis=0)
        directions = _directions(targets - center)
        rng = np.random.default_rng(SEED)
        hits: dict[str, bool] = {}
        for place, id in enumerate(ids):
            others = rng.choice(len(ids) - 1, size=CANDIDATES - 1, replace=False)
            others += others >= place
            if id not in self._generated:
                hits[id] = False
                continue
            cosines = directions[[place, *others]] @ _directions((self._generated[id] - center)[None])[0]
            hits[id] = bool(cosines[0] > cosines[1:].max())
        return hits


class GenerationMetric:
    """Scores the pictures of replies against the target pictures of one task token.

    Args:
        features: the named network in whose features pictures are compared; the embedded encoder by default.
        token: the task token whose targets are pictures.
    """

    def __init__(self, features: FeatureExtractor | None = None, token: str = "<GEN>") -> None:
        self.features = features or named_features()
        self.token = token
        self._scores = GenerationScores()
        self._waiting: list[tuple[str, Image.Image, Image.Image | None]] = []

    def update(self, example: Example, reply: Reply) -> dict[str, float]:
        """Takes in one reply; returns the share of its targets that were drawn (`per_item` tells which are found).

        Pictures are embedded in batches, so they wait until enough are there.
        """
        targets = example.targets.get(self.token, ())
        if not targets:
            raise InputError(f"{example.id} has no target picture for {self.token}.")
        for k, target in enumerate(targets):
            id = example.id if len(targets) == 1 else f"{example.id}#{k}"
            self._waiting.append((id, target, reply.images[k] if k < len(reply.images) else None))
        if len(self._waiting) >= BATCH_SIZE:
            self._embed()
        return {"drawn": min(len(reply.images), len(targets)) / len(targets)}

    def merge(self, other: GenerationMetric) -> None:
        if other.features.name != self.features.name:
            raise InputError(f"Can't merge scores on {other.features.name} features into {self.features.name}'s.")
        other._embed()
        self._scores.merge(other._scores)

    def compute(self) -> dict[str, Any]:
        """`GenerationScores.compute` with the network's name in the scores' names."""
        self._embed()
        return self._scores.compute(self.features.name)

    def per_item(self) -> dict[str, dict[str, float]]:
        """id -> `among_16`, 1 where the target was found; empty with fewer than 16 items."""
        self._embed()
        return {id: {f"among_{CANDIDATES}": float(hit)} for id, hit in self._scores.among().items()}

    def _embed(self) -> None:
        if not self._waiting:
            return
        targets, _ = self.features([target for _, target, _ in self._waiting])
        drawn = [(id, picture) for id, _, picture in self._waiting if picture is not None]
        generated, logits = self.features([picture for _, picture in drawn]) if drawn else (targets[:0], None)
        place = {id: i for i, (id, _) in enumerate(drawn)}
        for (id, _, picture), target in zip(self._waiting, targets, strict=True):
            i = place[id] if picture is not None else None
            self._scores.add(
                id,
                target,
                None if i is None else generated[i],
                None if i is None or logits is None else logits[i],
            )
        self._waiting.clear()


def frechet_distance(first: Floats, second: Floats) -> float:
    """Squared Frechet distance between Gaussians fitted to two sets of features (FID; Heusel et al. 2017, eq. 6).

    Args:
        first: (N, E), N >= 2.
        second: (M, E), M >= 2.

    With S = A'A and T = B'B, trace((S T)^(1/2)) is the sum of the singular values of A B': exact also where there are
    fewer pictures than features, where a matrix square root is ill-conditioned.
    """
    return _distance(_moments(first), _moments(second))


def kernel_distance(
    first: Floats, second: Floats, *, subsets: int = KID_SUBSETS, subset_size: int = KID_SUBSET_SIZE, seed: int = SEED
) -> float:
    """Unbiased squared maximum mean discrepancy with the kernel (x'y / E + 1)^3, averaged over subsets (KID).

    Args:
        first: (N, E), N >= 2.
        second: (M, E), M >= 2.
        subsets: how many subsets are drawn; with no more pictures than `subset_size`, all are used, once.
        subset_size: pictures of each set in a subset.
        seed: of the draws.
    """
    size = min(subset_size, len(first), len(second))
    if size == len(first) == len(second):
        return _discrepancy(first, second)
    rng = np.random.default_rng(seed)
    draws = [
        (rng.choice(len(first), size, replace=False), rng.choice(len(second), size, replace=False))
        for _ in range(subsets)
    ]
    return float(np.mean([_discrepancy(first[i], second[j]) for i, j in draws]))


def inception_score(logits: Floats, *, splits: int = SPLITS, seed: int = SEED) -> tuple[float, float]:
    """exp of the mean KL divergence between a picture's class distribution and all pictures' (IS).

    Args:
        logits: (N, C), N >= splits.
        splits: parts (drawn at random) that are scored apart.
        seed: of the draw.

    Returns:
        mean and standard deviation over the parts.
    """
    scores = _inception_scores(logits, splits, seed)
    return float(scores.mean()), float(scores.std())


def _inception_scores(logits: Floats, splits: int, seed: int) -> Floats:
    """(splits,) the score of each part."""
    shifted = logits[np.random.default_rng(seed).permutation(len(logits))]
    shifted = shifted - shifted.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    scores = []
    for part in np.array_split(log_p, splits):
        marginal = np.log(np.exp(part).mean(axis=0))
        scores.append(np.exp((np.exp(part) * (part - marginal)).sum(axis=1).mean()))
    return np.array(scores)


def _checked(what: str, row: ArrayLike, known: Mapping[str, Floats]) -> Floats:
    """One item's features or logits, as many as those that are known."""
    vector = np.asarray(row, dtype=np.float64)
    expected = next(iter(known.values()), vector).shape
    if vector.ndim != 1 or vector.shape != expected or not np.isfinite(vector).all():
        raise InputError(
            f"{what} must have finite numbers, as many as the others; got the shape {vector.shape} where {expected} is "
            "expected."
        )
    return vector


def _moments(features: Floats, counts: Floats | None = None) -> tuple[Floats, Floats]:
    """Mean (E,) and a root R (at most E rows) of the covariance, R'R = cov, of features that count (N,) times each."""
    counts = np.ones(len(features)) if counts is None else counts
    features, counts = features[counts > 0], counts[counts > 0, None]
    mean = (features * counts).sum(axis=0) / counts.sum()
    root = (features - mean) * np.sqrt(counts / (counts.sum() - 1.0))
    if len(root) > root.shape[1]:
        root = np.asarray(np.linalg.qr(root, mode="r"), dtype=np.float64)
    return mean, root


def _distance(first: tuple[Floats, Floats], second: tuple[Floats, Floats]) -> float:
    (mean1, root1), (mean2, root2) = first, second
    cross = np.linalg.svd(root1 @ root2.T, compute_uv=False).sum()
    return float(((mean1 - mean2) ** 2).sum() + (root1**2).sum() + (root2**2).sum() - 2.0 * cross)


def _frechet_interval(value: float, targets: Floats, generated: Floats, drawn: NDArray[np.bool_]) -> list[float] | None:
    """The interval of FID from the spread of its resampled values around their mean.

    Their mean itself is of no use: a resample has fewer distinct pictures, and FID grows with that.
    """
    counts, spread = _counts(len(targets), FID_RESAMPLES)
    values = np.array(
        [
            _distance(_moments(targets, each), _moments(generated, each[drawn]))
            for each in counts
            if each[drawn].sum() > 1
        ]
    )
    return percentile_interval((values - values.mean()) * spread + value)


def _counts(n: int, resamples: int) -> tuple[Floats, float]:
    """(resamples, n) how often each item is drawn, and the factor of the resampled scores' spread.

    Of many pictures only `INTERVAL_IMAGES` are drawn for a resample. A score's spread falls with the root of the number
    of pictures, so theirs is scaled down by it (the bootstrap of m out of n: Bickel, Goetze and van Zwet 1997).
    """
    if n <= INTERVAL_IMAGES:
        return resample_counts(n, resamples=resamples), 1.0
    drawn = np.random.default_rng(SEED).integers(n, size=(resamples, INTERVAL_IMAGES))
    counts = np.stack([np.bincount(row, minlength=n) for row in drawn]).astype(np.float64)
    return counts, float(np.sqrt(INTERVAL_IMAGES / n))


def _kernel(first: Floats, second: Floats) -> Floats:
    return (first @ second.T / first.shape[1] + 1.0) ** 3


def _discrepancy(first: Floats, second: Floats) -> float:
    """Unbiased estimate of two sets' squared maximum mean discrepancy (Gretton et al. 2012, eq. 3)."""
    within = 0.0
    for features in (first, second):
        kernel = _kernel(features, features)
        within += (kernel.sum() - np.trace(kernel)) / (len(features) * (len(features) - 1))
    return float(within - 2.0 * _kernel(first, second).mean())


def _kernel_interval(value: float, targets: Floats, generated: Floats, drawn: NDArray[np.bool_]) -> list[float] | None:
    """The interval of KID from the spread of its resampled values around their mean.

    An item that is drawn several times is never compared with itself, nor its picture with its own target: that would
    weigh such pairs more than the estimate does.
    """
    counts, spread = _counts(len(targets), KID_RESAMPLES)
    places = np.arange(len(targets))
    sets = ((targets, counts, places), (generated, counts[:, drawn], places[drawn]))

    def mean(first: int, second: int) -> Floats:
        (features1, counts1, items1), (features2, counts2, items2) = sets[first], sets[second]
        total, pairs = np.zeros(len(counts)), np.zeros(len(counts))
        for start in range(0, len(features1), INTERVAL_IMAGES):  # all of the kernel at once may not fit into memory
            part = slice(start, start + INTERVAL_IMAGES)
            other = items1[part, None] != items2
            total += ((counts1[:, part] @ (_kernel(features1[part], features2) * other)) * counts2).sum(axis=1)
            pairs += ((counts1[:, part] @ other) * counts2).sum(axis=1)
        return divide(total, pairs)

    values = mean(0, 0) + mean(1, 1) - 2.0 * mean(0, 1)
    return percentile_interval((values - np.nanmean(values)) * spread + value)


def _stack(vectors: Mapping[str, Floats]) -> Floats:
    """(N, E) in the order of the ids."""
    return np.stack([vectors[id] for id in sorted(vectors)]) if vectors else np.zeros((0, 0))


def _directions(vectors: Floats) -> Floats:
    """(N, E) unit vectors; zeros stay zeros."""
    return np.nan_to_num(divide(vectors, np.linalg.norm(vectors, axis=1, keepdims=True)))
