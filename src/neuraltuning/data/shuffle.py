"""The order of an epoch, each place computed from (seed, epoch, place) alone, in memory that data don't make grow.

Samples that any place can be asked for are permuted within windows of `WINDOW`. Stored samples come a row group at a
time: their shards are permuted, the row groups of some shards together, and the samples of some groups together, so
that a group is read once and stays in memory until its samples were used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from neuraltuning.data.sample import Sample
from neuraltuning.data.shards import GROUP_BYTES, GROUPS, OPEN_SHARDS, Shards
from neuraltuning.data.store import StoredSamples

T = TypeVar("T")

WINDOW = 2**17
"""Places that are permuted together."""
BUFFER_BYTES = GROUP_BYTES // 2
"""Row groups whose samples are permuted together have so many bytes at most; the rest is room for what comes next."""

Order = Callable[[int, int], int]
"""(Epoch, place in it) -> place in the data; a permutation for each epoch."""


def shuffled(samples: Sequence[Sample], seed: int) -> Order:
    """The order that suits some samples."""
    if isinstance(samples, StoredSamples) and len(samples) == len(samples.shards):
        return GroupOrder(samples.shards, seed)
    return WindowOrder(len(samples), seed)


class WindowOrder:
    """Permutes places within windows; the windows stand in their order."""

    def __init__(self, length: int, seed: int) -> None:
        self.length, self.seed = length, seed
        self._window = _Last(self._permuted)

    def __call__(self, epoch: int, place: int) -> int:
        window, within = divmod(place, WINDOW)
        return window * WINDOW + int(self._window(epoch, window)[within])

    def _permuted(self, epoch: int, window: int) -> NDArray[np.int64]:
        return np.random.default_rng((self.seed, epoch, window)).permutation(min(WINDOW, self.length - window * WINDOW))


class GroupOrder:
    """Permutes shards, then the row groups of each `OPEN_SHARDS` shards, then the samples of up to `GROUPS` groups."""

    def __init__(self, shards: Shards, seed: int) -> None:
        self.shards, self.seed = shards, seed
        self._epoch = _Last(self._permuted_shards)
        self._part = _Last(self._permuted_groups)
        self._buffer = _Last(self._permuted_samples)

    def __call__(self, epoch: int, place: int) -> int:
        _, parts = self._epoch(epoch)
        part = int(np.searchsorted(parts, place, side="right")) - 1
        within = place - int(parts[part])
        _, buffers = self._part(epoch, part)
        number = int(np.searchsorted(buffers, within, side="right")) - 1
        return int(self._buffer(epoch, part, number)[within - int(buffers[number])])

    def _permuted_shards(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The shards in their order, and the place at which each part of `OPEN_SHARDS` shards begins."""
        order = self._rng(epoch).permutation(len(self.shards.names))
        starts = np.concatenate([[0], np.cumsum(np.diff(self.shards.starts)[order])])
        return order, starts[:-1:OPEN_SHARDS]

    def _permuted_groups(self, epoch: int, part: int) -> tuple[list[NDArray[np.int64]], NDArray[np.int64]]:
        """For each buffer its groups, (groups, 2) first place and end; and the place in the part at which it begins."""
        order, _ = self._epoch(epoch)
        spans, sizes = [], []
        for shard in order[part * OPEN_SHARDS : (part + 1) * OPEN_SHARDS].tolist():
            starts, weights = self.shards.groups(shard)
            spans.append(np.stack([starts[:-1], starts[1:]], axis=1) + self.shards.starts[shard])
            sizes.append(weights)
        groups = np.concatenate(spans)
        shuffle = self._rng(epoch, part).permutation(len(groups))
        groups, weight = groups[shuffle], np.concatenate(sizes)[shuffle]
        cuts, count, filled = [0], 0, 0
        for number, size in enumerate(weight.tolist()):
            if count and (count == GROUPS or filled + size > BUFFER_BYTES):
                cuts.append(number)
                count = filled = 0
            count, filled = count + 1, filled + size
        rows = np.concatenate([[0], np.cumsum(groups[:, 1] - groups[:, 0])])
        return np.split(groups, cuts[1:]), rows[cuts]

    def _permuted_samples(self, epoch: int, part: int, number: int) -> NDArray[np.int64]:
        buffers, _ = self._part(epoch, part)
        places = np.concatenate([np.arange(first, end) for first, end in buffers[number].tolist()])
        return self._rng(epoch, part, number).permutation(places)

    def _rng(self, *places: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, len(places), *places))


class _Last(Generic[T]):
    """A function that remembers its last result."""

    def __init__(self, function: Callable[..., T]) -> None:
        self.function = function
        self._kept: tuple[tuple[int, ...], T] | None = None

    def __call__(self, *arguments: int) -> T:
        if self._kept is None or self._kept[0] != arguments:
            self._kept = arguments, self.function(*arguments)
        return self._kept[1]
