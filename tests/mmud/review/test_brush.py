from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from neuraltuning.mmud.review.brush import encode_brush


def decode_brush(code: list[int]) -> NDArray[np.uint8]:
    """The values of a code, bit by bit as rle-pack's decoder reads them."""
    bits = "".join(f"{byte:08b}" for byte in code)
    place = 0

    def read(width: int) -> int:
        nonlocal place
        place += width
        return int(bits[place - width : place], 2)

    size, word = read(32), read(5) + 1
    widths = [read(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < size:
        repeated = read(1)
        length = read(widths[read(2)]) + 1
        values += [read(word)] * length if repeated else [read(word) for _ in range(length)]
    assert not bits[place:].strip("0")
    return np.array(values, dtype=np.uint8)


@pytest.mark.parametrize("kind", ["noise", "disc", "full", "empty", "long", "pixel"])
def test_a_mask_comes_back(kind: str) -> None:
    rows, columns = np.mgrid[:60, :80]
    mask = {
        "noise": np.random.default_rng(0).random((60, 80)) < 0.3,
        "disc": (rows - 30) ** 2 + (columns - 40) ** 2 < 400,
        "full": np.ones((60, 80), dtype=bool),
        "empty": np.zeros((60, 80), dtype=bool),
        "long": np.repeat([True, False, True], 40_000)[None],  # runs of more than 16 bits
        "pixel": np.ones((1, 1), dtype=bool),
    }[kind]
    values = decode_brush(encode_brush(mask)).reshape(*mask.shape, 4)
    assert (values == 255 * mask[..., None]).all()


def test_a_code_is_label_studios() -> None:
    # label_studio_sdk 2.1.2's converter.brush.decode_rle reads this mask from it
    mask = np.array([[False, False, True, True]] * 2)
    assert encode_brush(mask) == [0, 0, 0, 32, 57, 189, 252, 112, 8, 255, 241, 192, 35, 255, 128]
