"""Where objects lie in an image, by their boxes: directions, order, distances. Knows nothing of texts."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from neuraltuning.mmud.referents import Referent

MARGIN = 0.04
"""By what share of the image's side an object has to lie farther out than the next."""
_WRONG_SIDE = 0.62
"""An only object whose centre lies beyond this share of the image is not the one "on the left"."""


class Layout:
    """Compares places in one image."""

    def __init__(self, size: tuple[int, int]) -> None:
        """Takes the image's width and height."""
        self.size = size

    def x(self, item: Referent) -> float:
        """The centre, as a share of the image's width."""
        return (item.box[0] + item.box[2] / 2) / self.size[0]

    def y(self, item: Referent) -> float:
        """The centre, as a share of the image's height."""
        return (item.box[1] + item.box[3] / 2) / self.size[1]

    def outwardness(self, item: Referent, directions: Collection[str]) -> float:
        """How far an object lies in the named directions, in shares of the image's sides; "front" is low."""
        low = (item.box[1] + item.box[3]) / self.size[1]
        x, y = self.x(item), self.y(item)
        values = {"left": -x, "right": x, "top": -y, "bottom": y, "front": low, "back": -low}
        values["middle"] = -abs(x - 0.5) - abs(y - 0.5) * (len(directions) == 1)
        return sum(values[direction] for direction in directions)

    def ranked(self, items: Sequence[Referent], directions: Collection[str]) -> list[Referent]:
        """The objects, that which lies farthest in the directions first."""
        return sorted(items, key=lambda item: self.outwardness(item, directions), reverse=True)

    def middle(self, items: Sequence[Referent]) -> Referent:
        """The middle one of an odd number of objects, along the row or the column that they stand in."""
        columns, rows = [self.x(item) for item in items], [self.y(item) for item in items]
        axis = self.x if max(columns) - min(columns) >= max(rows) - min(rows) else self.y
        return sorted(items, key=axis)[len(items) // 2]

    def contradicts(self, item: Referent, directions: Collection[str]) -> bool:
        """Whether an object plainly lies on the other side."""
        x, y = self.x(item), self.y(item)
        values = {"left": x, "right": 1 - x, "top": y, "bottom": 1 - y}
        return any(values[direction] > _WRONG_SIDE for direction in directions if direction in values)

    def gap(self, item: Referent, other: Referent) -> float:
        """The distance of two boxes' borders, and half of their centres', for boxes that overlap."""
        gaps = []
        for axis in (0, 1):
            low = max(item.box[axis], other.box[axis])
            high = min(item.box[axis] + item.box[axis + 2], other.box[axis] + other.box[axis + 2])
            gaps.append(max(low - high, 0) / self.size[axis])
        return sum(gaps) + 0.5 * (abs(self.x(item) - self.x(other)) + abs(self.y(item) - self.y(other)))
