"""What is worth remembering of images, within a bound of memory: the least recently used is forgotten first.

Knows nothing of what the values are but their size.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from PIL import Image

Value = TypeVar("Value")


class Remembered:
    """Values by key, at most so many bytes of them. For one thread.

    Attributes:
        n_bytes: what they take now.
    """

    def __init__(self, limit: int) -> None:
        """Begins empty.

        Args:
            limit: bytes at most; a value that is larger alone is not remembered.
        """
        self.limit = limit
        self.n_bytes = 0
        self._values: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()

    def get(self, key: Hashable) -> Any:
        """The value, used just now; None where there is none."""
        if key not in self._values:
            return None
        self._values.move_to_end(key)
        return self._values[key][0]

    def put(self, key: Hashable, value: Any, n_bytes: int) -> None:
        """Remembers a value that takes so many bytes."""
        self.n_bytes -= self._values.pop(key, (None, 0))[1]
        if n_bytes > self.limit:
            return
        self._values[key] = value, n_bytes
        self.n_bytes += n_bytes
        while self.n_bytes > self.limit:
            _, (_, size) = self._values.popitem(last=False)
            self.n_bytes -= size

    def get_or_make(self, key: Hashable, make: Callable[[], Value], size: Callable[[Value], int]) -> Value:
        """The value, made and remembered where there is none yet."""
        value: Value | None = self.get(key)
        if value is None:
            value = make()
            self.put(key, value, size(value))
        return value


def image_digest(image: Image.Image) -> bytes:
    """Stands for what a picture shows: a hash of its size and its RGB values."""
    width, height = image.size
    return hashlib.sha256(f"{width} {height} ".encode() + image.convert("RGB").tobytes()).digest()
