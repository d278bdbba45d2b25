"""The order of an epoch: a permutation, another one each time, in memory that doesn't grow with the data."""

from __future__ import annotations

import io
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

from neuraltuning.data import shards, shuffle, store
from neuraltuning.data.sample import Sample
from neuraltuning.data.shuffle import GroupOrder, WindowOrder, shuffled
from neuraltuning.data.store import SplitWriter, StoredSamples


def write(folder: Path, size: int, side: int = 2) -> StoredSamples:
    """Samples whose ids are their places, each with a picture of its own."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    with SplitWriter(folder) as writer:
        for place in range(size):
            image = Image.fromarray(rng.integers(0, 255, (side, side, 3), dtype=np.uint8))
            buffer = io.BytesIO()
            image.save(buffer, "BMP")
            writer.add(Sample(str(place), image, captions=("A picture.",)), buffer.getvalue())
    return StoredSamples(folder)


@pytest.fixture
def samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StoredSamples:
    """1,000 samples in 21 shards of 3 groups; 4 shards are permuted together, and 5 groups."""
    monkeypatch.setattr(store, "SHARD_SAMPLES", 48)
    monkeypatch.setattr(shards, "OPEN_SHARDS", 4)
    monkeypatch.setattr(shuffle, "OPEN_SHARDS", 4)
    monkeypatch.setattr(shuffle, "GROUPS", 5)
    return write(tmp_path / "train", 1000)


def test_each_place_comes_once_in_an_epoch(samples: StoredSamples) -> None:
    order = shuffled(samples, 3)
    assert isinstance(order, GroupOrder)
    epochs = [[order(epoch, place) for place in range(1000)] for epoch in range(3)]
    assert all(sorted(epoch) == list(range(1000)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert [samples[place].id for place in epochs[0][:4]] == [str(place) for place in epochs[0][:4]]


def test_an_order_is_a_function_of_the_place_alone(samples: StoredSamples) -> None:
    one, other = shuffled(samples, 3), pickle.loads(pickle.dumps(shuffled(samples, 3)))
    forth = [one(1, place) for place in range(1000)]
    assert [other(1, place) for place in reversed(range(1000))] == forth[::-1]
    assert [shuffled(samples, 4)(1, place) for place in range(1000)] != forth


def test_neighbours_in_the_data_are_far_apart(samples: StoredSamples) -> None:
    order = shuffled(samples, 0)
    places = np.array([order(0, place) for place in range(1000)])
    assert (np.abs(np.diff(places)) <= 1).mean() < 0.05
    assert abs(np.corrcoef(places, np.arange(1000))[0, 1]) < 0.3


def test_a_group_is_read_once_in_an_epoch(samples: StoredSamples, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[int, int]] = []
    original = pyarrow.parquet.ParquetFile.read_row_group

    def counted(file: pyarrow.parquet.ParquetFile, number: int, **options: bool) -> pyarrow.Table:
        read.append((id(file), number))
        return original(file, number, **options)

    monkeypatch.setattr(pyarrow.parquet.ParquetFile, "read_row_group", counted)
    order = shuffled(samples, 0)
    assert sorted(int(samples[order(0, place)].id) for place in range(1000)) == list(range(1000))
    assert len(read) == 63


def test_large_groups_are_permuted_fewer_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shuffle, "BUFFER_BYTES", 3 * 16 * 40**2 * 3)
    samples = write(tmp_path / "train", 160, side=40)
    order = shuffled(samples, 0)
    groups = [{order(0, place) // 16 for place in range(start, start + 32)} for start in range(0, 160, 32)]
    assert all(len(found) <= 4 for found in groups)


def test_memory_does_not_grow_with_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of 30 MB go through a buffer of 2 MB."""
    monkeypatch.setattr(shuffle, "BUFFER_BYTES", 2**20)
    monkeypatch.setattr(shards, "GROUP_BYTES", 2 * 2**20)
    samples = write(tmp_path / "train", 640, side=128)
    order = shuffled(samples, 0)
    pool = pyarrow.default_memory_pool()
    most = 0
    tracemalloc.start()
    for place in range(640):
        assert samples[order(0, place)].image.size == (128, 128)
        most = max(most, pool.bytes_allocated())
    python = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most + python < 8 * 2**20


def test_what_can_be_asked_for_anywhere_is_permuted_in_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = WindowOrder(100, 7)
    assert [whole(2, place) for place in range(100)] == np.random.default_rng((7, 2)).permutation(100).tolist()
    monkeypatch.setattr(shuffle, "WINDOW", 40)
    order = WindowOrder(100, 7)
    places = [order(0, place) for place in range(100)]
    assert [sorted(places[a:b]) for a, b in ((0, 40), (40, 80), (80, 100))] == [
        list(range(40)),
        list(range(40, 80)),
        list(range(80, 100)),
    ]


def test_a_part_of_a_split_has_an_order_of_its_own(samples: StoredSamples) -> None:
    order = shuffled(samples[:30], 0)
    assert sorted(order(0, place) for place in range(30)) == list(range(30))
