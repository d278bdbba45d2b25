"""When one may say "left of", "bigger", "in the corner": with a margin that leaves no room for another opinion.

Each predicate answers True, False or None, None meaning that people may disagree.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from neuraltuning.data.scenes.layout import IMAGE_SIZE, SceneObject

DIRECTIONS: dict[str, tuple[int, int]] = {"left": (-1, 0), "right": (1, 0), "above": (0, -1), "below": (0, 1)}
OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}
MIN_DISTANCE = 20.0
"""Least distance in pixels along an axis between the centers of two objects that are told apart by it."""
MIN_AREA_RATIO = 1.5
MIN_DISTANCE_RATIO = 1.35


def is_in_direction(target: SceneObject, anchor: SceneObject, direction: str) -> bool | None:
    """Whether `target` lies in `direction` ("left", "right", "above", "below") of `anchor`."""
    ux, uy = DIRECTIONS[direction]
    dx, dy = target.center[0] - anchor.center[0], target.center[1] - anchor.center[1]
    along, across = dx * ux + dy * uy, abs(dx * uy) + abs(dy * ux)
    if along >= MIN_DISTANCE and along >= 1.2 * across:
        return True
    if along <= 5 or along <= 0.6 * across:
        return False
    return None


def distance(first: SceneObject, second: SceneObject) -> float:
    """Returns the distance of the two centers in pixels."""
    return float(((first.center[0] - second.center[0]) ** 2 + (first.center[1] - second.center[1]) ** 2) ** 0.5)


def is_clearly_bigger(first: SceneObject, second: SceneObject) -> bool:
    """Whether both the visible area and the box of `first` are at least `MIN_AREA_RATIO` times the other's."""
    boxes = first.box[2] * first.box[3] / (second.box[2] * second.box[3])
    return first.area >= MIN_AREA_RATIO * second.area and boxes >= MIN_AREA_RATIO


def ranked(objects: Sequence[SceneObject], axis: int) -> list[int] | None:
    """Returns the indices in order of their centers along `axis` (0: x, 1: y), or None without clear gaps."""
    order = sorted(range(len(objects)), key=lambda index: objects[index].center[axis])
    centers = [objects[index].center[axis] for index in order]
    if any(after - before < MIN_DISTANCE for before, after in itertools.pairwise(centers)):
        return None
    return order


def extreme(objects: Sequence[SceneObject], axis: int, last: bool) -> int | None:
    """Returns the index of the first (or last) object along `axis`, or None if the next one is too close."""
    order = sorted(range(len(objects)), key=lambda index: objects[index].center[axis], reverse=last)
    gap = abs(objects[order[1]].center[axis] - objects[order[0]].center[axis])
    return order[0] if gap >= MIN_DISTANCE else None


def spread(objects: Sequence[SceneObject], axis: int) -> float:
    """Returns the distance in pixels between the outermost centers along `axis`."""
    centers = [item.center[axis] for item in objects]
    return max(centers) - min(centers)


def widest_axis(objects: Sequence[SceneObject]) -> int:
    """Returns the axis (0: x, 1: y) along which the centers are spread most."""
    return 0 if spread(objects, 0) >= spread(objects, 1) else 1


def region(item: SceneObject) -> str | None:
    """Returns where in the image an object is: "left", "top right", "middle", ..., or None if between regions."""
    words = []
    for value, names in ((item.center[1], ("top", "bottom")), (item.center[0], ("left", "right"))):
        share = value / IMAGE_SIZE
        if share <= 0.36:
            words.append(names[0])
        elif share >= 0.64:
            words.append(names[1])
        elif not 0.42 <= share <= 0.58:
            return None
    return " ".join(words) or "middle"


def is_in_quadrant(item: SceneObject, corner: str) -> bool:
    """Whether an object may be said to belong to the quarter of the image around a corner, in doubt yes."""
    vertical, horizontal = corner.split()
    x, y = (value / IMAGE_SIZE for value in item.center)
    return (y <= 0.54 if vertical == "top" else y >= 0.46) and (x <= 0.54 if horizontal == "left" else x >= 0.46)
