"""Rows of keys and values that come and go."""

from __future__ import annotations

import torch

from neuraltuning.kv_cache import RowCache


def test_a_row_that_holds_nothing_yet_can_move() -> None:
    """A sequence that was taken in has no room in the cache before its first pass; one in front of it may leave."""
    cache = RowCache()
    cache.begin(0, torch.tensor([0]), 2, 0)
    keys, _ = cache.update(torch.ones(1, 1, 2, 4), torch.ones(1, 1, 2, 4), 0)
    cache.move(1, 0, 0)
    cache.begin(0, torch.tensor([2]), 1, 2)
    keys, _ = cache.update(torch.full((1, 1, 1, 4), 2.0), torch.ones(1, 1, 1, 4), 0)
    assert keys[0, 0, :3, 0].tolist() == [1.0, 1.0, 2.0]
