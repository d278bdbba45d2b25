"""Rows of keys and values: written where they belong, moved, copied, grown and shrunk without losing anything."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from neuraltuning.kv_cache import SEEN, SLOTS, RowCache

HEADS, SIZE, LAYERS = 2, 3, 2


def states(rows: int, width: int, number: int) -> Tensor:
    return torch.randn(rows, HEADS, width, SIZE, generator=torch.Generator().manual_seed(number))


def write(cache: RowCache, first: int, starts: list[int], width: int, number: int) -> list[tuple[Tensor, Tensor]]:
    """One pass: what each layer gets back."""
    cache.begin(first, torch.tensor(starts), width, max(starts))
    return [
        cache.update(states(len(starts), width, number + k), states(len(starts), width, number + k + 50), k)
        for k in range(LAYERS)
    ]


def test_positions_go_behind_what_a_row_has() -> None:
    cache = RowCache()
    write(cache, 0, [0, 0], 5, 0)
    for layer, (keys, values) in enumerate(write(cache, 0, [5, 3], 2, 7)):
        assert keys.shape == values.shape == (2, HEADS, SEEN, SIZE)
        before, after = states(2, 5, layer), states(2, 2, 7 + layer)
        torch.testing.assert_close(keys[0, :, :7], torch.cat([before[0], after[0]], 1))
        torch.testing.assert_close(keys[1, :, :5], torch.cat([before[1, :, :3], after[1]], 1))
        torch.testing.assert_close(values[0, :, :5], states(2, 5, layer + 50)[0])
        assert not keys[0, :, 7:].any()  # nothing but zeros where no row ever was


def test_rows_between_others_are_left_alone() -> None:
    cache = RowCache()
    write(cache, 0, [0, 0, 0], 4, 0)
    [(keys, _), _] = write(cache, 1, [4], 3, 9)
    assert keys.shape[0] == 1
    torch.testing.assert_close(cache.copy(0, 4).layers[0][0].transpose(0, 1), states(3, 4, 0)[0])
    torch.testing.assert_close(cache.copy(2, 4).layers[0][0].transpose(0, 1), states(3, 4, 0)[2])
    torch.testing.assert_close(cache.copy(1, 7).layers[0][0].transpose(0, 1)[:, 4:], states(1, 3, 9)[0])


def test_a_copy_starts_another_row_in_the_same_cache_or_a_new_one() -> None:
    cache = RowCache()
    write(cache, 0, [0], 6, 0)
    kept = cache.copy(0, 4)
    assert kept.n_bytes == LAYERS * 2 * 4 * HEADS * SIZE * 4
    write(cache, 0, [0], 6, 5)  # the copy is one
    for other, row in ((cache, 3), (RowCache(), 0)):
        other.put(row, kept, 3)
        back = other.copy(row, 3)
        for layer in range(LAYERS):
            torch.testing.assert_close(back.layers[layer][0], states(1, 6, layer)[0].transpose(0, 1)[:3])
            torch.testing.assert_close(back.layers[layer][1], states(1, 6, layer + 50)[0].transpose(0, 1)[:3])


def test_it_grows_and_shrinks_around_what_it_holds() -> None:
    cache = RowCache()
    write(cache, 0, [0, 0], 10, 0)
    assert cache.slots == SLOTS
    write(cache, 0, [10], 5 * SLOTS, 3)
    assert cache.slots == 6 * SLOTS
    cache.shrink(4 * SLOTS)
    assert cache.slots == 6 * SLOTS  # not for little
    cache.shrink(10)
    assert cache.slots == SLOTS
    torch.testing.assert_close(cache.copy(1, 10).layers[1][0].transpose(0, 1), states(2, 10, 1)[1])


def test_random_sequences_of_writes_and_moves_hold_what_a_list_would() -> None:
    rng = np.random.default_rng(0)
    cache = RowCache()
    rows: list[Tensor] = []  # the keys of layer 0, (length, HEADS, SIZE)
    for number in range(200):
        action = rng.random()
        if not rows or (action < 0.25 and len(rows) < 6):
            rows.append(torch.zeros(0, HEADS, SIZE))
        elif action < 0.4:
            row = int(rng.integers(len(rows)))
            last = len(rows) - 1
            cache.move(last, row, len(rows[last]))
            rows[row] = rows[last]
            rows.pop()
            cache.shrink(max(map(len, rows), default=0))
        else:
            first = int(rng.integers(len(rows)))
            count, width = int(rng.integers(1, len(rows) - first + 1)), int(rng.integers(1, 40))
            group = rows[first : first + count]
            write(cache, first, [len(row) for row in group], width, 1000 + number)
            new = states(count, width, 1000 + number).transpose(1, 2)
            rows[first : first + count] = [torch.cat([row, own]) for row, own in zip(group, new, strict=True)]
            if max(map(len, rows)) > 300:
                rows = [row[:20] for row in rows]
        for row, expected in enumerate(rows):
            if len(expected):
                torch.testing.assert_close(cache.copy(row, len(expected)).layers[0][0], expected)
