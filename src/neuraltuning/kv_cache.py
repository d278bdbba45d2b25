"""Keys and values of sequences of different lengths, a row each, that come and go. Knows nothing of models.

A row is filled from its first slot on and nothing is padded in front, so that what a position attends to, and in which
order it is summed up, is the same whatever the other rows hold; sliding windows may count slots as positions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import Cache

SLOTS = 64
"""Rows grow by so many slots at a time."""
SEEN = 16
"""The number of slots that attention reads is a multiple of this: its kernels sum up odd ends in another order."""


@dataclass(frozen=True, eq=False)
class KeysAndValues:
    """What one sequence left behind, to go on from: for each layer keys and values, (length, heads, size) each."""

    layers: Mapping[int, tuple[Tensor, Tensor]]

    @property
    def n_bytes(self) -> int:
        """Memory that it takes."""
        return sum(t.numel() * t.element_size() for layer in self.layers.values() for t in layer)


class RowCache(Cache):
    """A cache for transformers' models whose rows have lengths of their own.

    Before each pass `begin` says which rows the new positions belong to and where they go. Masks and positions are the
    caller's business.

    Attributes:
        slots: how many slots each row has at the moment.
        seen: how many of them the pass that was announced attends to.
    """

    def __init__(self) -> None:
        super().__init__(layers=[])
        self.slots = 0
        self._rows = 0
        self._kept: dict[int, tuple[Tensor, Tensor]] = {}  # keys and values by layer, (rows, slots, heads, size)
        self._places = torch.zeros(0, dtype=torch.int64)
        self._first, self._count = 0, 0
        self.seen = 0

    def reserve(self, rows: int, length: int) -> None:
        """Makes room for at least so many rows of at least so many positions; what is there stays."""
        if rows <= self._rows and length <= self.slots:
            return
        if rows > self._rows:
            self._rows = max(rows, 2 * self._rows)
        self.slots = max(self.slots, -(-length // SLOTS) * SLOTS)
        self._resize()

    def shrink(self, length: int) -> None:
        """Gives memory back where rows have far more slots than `length`, the longest row's."""
        needed = max(SLOTS, -(-length // SLOTS) * SLOTS)
        if 4 * needed <= self.slots:
            self.slots = needed
            self._resize()

    def begin(self, first: int, starts: Tensor, width: int, longest: int) -> None:
        """Announces a pass of the rows from `first` on, each with `width` new positions.

        Args:
            first: the first row.
            starts: (B,) int64, the slot of each row's first new position.
            width: new positions of each row; those behind a row's own end may be anything, and are overwritten later.
            longest: the largest of `starts`.
        """
        self.reserve(first + len(starts), longest + width)
        rows = torch.arange(first, first + len(starts), device=starts.device)
        steps = torch.arange(width, device=starts.device)
        self._places = ((rows * self.slots + starts)[:, None] + steps).flatten()
        self._first, self._count = first, len(starts)
        self.seen = min(self.slots, -(-(longest + width) // SEEN) * SEEN)

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Writes a layer's new keys and values, (B, heads, width, size), and gives those of the rows' `seen` slots."""
        if layer_idx not in self._kept:
            self._kept[layer_idx] = self._new(key_states.transpose(1, 2)), self._new(value_states.transpose(1, 2))
        keys, values = self._kept[layer_idx]
        return self._write(keys, key_states), self._write(values, value_states)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Nothing: positions are given with each pass."""
        return 0

    def copy(self, row: int, length: int) -> KeysAndValues:
        """A copy of a row's first `length` slots."""
        return KeysAndValues(
            {layer: (k[row, :length].clone(), v[row, :length].clone()) for layer, (k, v) in self._kept.items()}
        )

    def put(self, row: int, kept: KeysAndValues, length: int) -> None:
        """Fills a row's first `length` slots with what another row left behind."""
        self.reserve(row + 1, length)
        if not self._kept:
            self._kept = {layer: (self._new(k[None]), self._new(v[None])) for layer, (k, v) in kept.layers.items()}
        for layer, own in self._kept.items():
            for target, source in zip(own, kept.layers[layer], strict=True):
                target[row, :length] = source[:length]

    def move(self, source: int, target: int, length: int) -> None:
        """Makes row `target` what row `source` is, `length` slots long; one without any may have no room yet."""
        if not length:
            return
        for own in self._kept.values():
            for tensor in own:
                tensor[target, :length] = tensor[source, :length]

    def _write(self, kept: Tensor, new: Tensor) -> Tensor:
        kept.flatten(0, 1).index_copy_(0, self._places, new.transpose(1, 2).flatten(0, 1).to(kept.dtype))
        return kept[self._first : self._first + self._count, : self.seen].transpose(1, 2)

    def _new(self, like: Tensor) -> Tensor:
        # zeros, because masked slots are multiplied by zero, which doesn't do away with a NaN
        return like.new_zeros(self._rows, self.slots, *like.shape[2:])

    def _resize(self) -> None:
        self._kept = {layer: (self._resized(k), self._resized(v)) for layer, (k, v) in self._kept.items()}

    def _resized(self, old: Tensor) -> Tensor:
        new = self._new(old)
        rows, slots = min(len(old), self._rows), min(old.shape[1], self.slots)
        new[:rows, :slots] = old[:rows, :slots]
        return new
