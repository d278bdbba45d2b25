"""Remembering within a bound of memory."""

from __future__ import annotations

import numpy as np
from PIL import Image

from neuraltuning.serving.remembered import Remembered, image_digest


def test_the_least_recently_used_is_forgotten_first() -> None:
    memory = Remembered(100)
    for name in "abc":
        memory.put(name, name.upper(), 30)
    assert memory.get("a") == "A"
    memory.put("d", "D", 30)
    assert [memory.get(name) for name in "abcd"] == ["A", None, "C", "D"]
    assert memory.n_bytes == 90


def test_a_value_replaces_the_one_before() -> None:
    memory = Remembered(100)
    memory.put("a", 1, 60)
    memory.put("a", 2, 70)
    assert (memory.get("a"), memory.n_bytes) == (2, 70)


def test_what_is_larger_than_the_bound_is_not_remembered() -> None:
    memory = Remembered(100)
    memory.put("a", 1, 60)
    memory.put("b", 2, 101)
    memory.put("a", 3, 101)
    assert (memory.get("a"), memory.get("b"), memory.n_bytes) == (None, None, 0)
    assert Remembered(0).get_or_make("a", lambda: 5, lambda _: 8) == 5


def test_it_is_made_once() -> None:
    memory = Remembered(100)
    made = []
    for _ in range(3):
        assert memory.get_or_make("a", lambda: made.append(1) or "A", lambda _: 10) == "A"  # type: ignore[func-returns-value]
    assert len(made) == 1


def test_pictures_are_told_apart_by_what_they_show() -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    image = Image.fromarray(pixels)
    assert image_digest(image) == image_digest(Image.fromarray(pixels.copy()))
    grey = Image.new("L", (3, 2), 7)
    assert image_digest(grey) == image_digest(grey.convert("RGB"))
    other = pixels.copy()
    other[3, 3, 2] += 1
    turned = Image.fromarray(pixels.reshape(2, 8, 3))
    assert len({image_digest(i) for i in (image, Image.fromarray(other), turned)}) == 3
