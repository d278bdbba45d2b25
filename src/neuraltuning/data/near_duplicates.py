"""Finding nearly the same picture again, by 64-bit difference hashes. Knows nothing of samples and splits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np
from PIL import Image

T = TypeVar("T")

HASH_SIDE = 8
"""Rows and columns of a difference hash: 64 bits a picture."""
NEAR = 3
"""Bits that the hashes of nearly equal pictures may differ in."""
BANDS = NEAR + 1
"""Parts of a hash: of two that differ in at most `NEAR` bits, one part is equal."""


def difference_hash(image: Image.Image) -> int:
    """64 bits: whether a picture, scaled to 9 x 8 grey pixels, grows brighter from each pixel to the next.

    It stays nearly the same when the picture is scaled, compressed or recoloured.
    """
    grey = np.asarray(image.convert("L").resize((HASH_SIDE + 1, HASH_SIDE), Image.Resampling.BOX), dtype=np.int16)
    return int.from_bytes(np.packbits(grey[:, 1:] > grey[:, :-1]).tobytes(), "big")


class NearPictures(Generic[T]):
    """A value for each hash that was seen, found again by nearly equal hashes."""

    def __init__(self, value: Callable[[], T]) -> None:
        """Begins empty; `value` makes what a new hash is given."""
        self._value = value
        self._values: dict[int, T] = {}
        # by a part of the hash: plain pictures are many and have one hash
        self._codes: dict[tuple[int, int], list[int]] = defaultdict(list)

    def near(self, code: int) -> list[T]:
        """The values of the hashes so far that differ from `code` in at most `NEAR` bits."""
        codes = dict.fromkeys(other for part in _parts(code) for other in self._codes.get(part, ()))
        return [self._values[other] for other in codes if (code ^ other).bit_count() <= NEAR]

    def at(self, code: int) -> T:
        """The value of a hash, which counts as seen from now on."""
        if code not in self._values:
            self._values[code] = self._value()
            for part in _parts(code):
                self._codes[part].append(code)
        return self._values[code]


def _parts(code: int) -> list[tuple[int, int]]:
    width = 64 // BANDS
    return [(band, (code >> (width * band)) & (2**width - 1)) for band in range(BANDS)]
