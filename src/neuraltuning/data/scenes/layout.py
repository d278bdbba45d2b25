"""Draws a scene: which objects it holds, how large, where, and which of their pixels can be seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from neuraltuning.data.scenes.backgrounds import Background, draw_background
from neuraltuning.data.scenes.catalog import Category, confused_with
from neuraltuning.data.scenes.sprites import sprite, transformed_sprite

IMAGE_SIZE = 224
MAX_OBJECTS = 6

# MMUD's samples with 1 to 6 objects (journal paper, section 4).
OBJECT_COUNT_SHARES = np.array([7393, 13515, 6022, 3981, 2311, 1386]) / 34608

# Smallest and largest size of an object in pixels, by the number of objects: its longer side where it is as wide as
# high; the longer side of a long one is up to `_MAX_STRETCH` times as long.
_SIZE_LIMITS = {1: (70, 130), 2: (52, 118), 3: (48, 104), 4: (44, 94), 5: (42, 86), 6: (40, 78)}
_REPEATED_CLASS_SHARE = 0.55
_PAINTED_GROUP_SHARE = 0.5
"""Share of the groups of one class that are drawn among the classes with several colors."""
_OVERLAP_SHARE = 0.4
"""How often an object may be placed over others at once; otherwise only when ten free places were sought in vain."""
_MIN_VISIBLE_SHARE = 0.6
_MIN_VISIBLE_PIXELS = 250
_MAX_ROTATION = 15.0
_MAX_STRETCH = 1.3


@dataclass(frozen=True, slots=True, eq=False)
class SceneObject:
    """One object of a scene.

    Attributes:
        category: its class.
        color: the color it is painted in, or None where it has its natural one.
        mask: (IMAGE_SIZE, IMAGE_SIZE) bool, the visible pixels.
        box: x, y, width, height of the mask.
        area: number of visible pixels.
        center: x and y of the box's center in pixels.
    """

    category: Category
    color: str | None
    mask: NDArray[np.bool_]
    box: tuple[int, int, int, int]
    area: int
    center: tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """An image and what it holds; the order of the objects tells nothing."""

    image: Image.Image
    background: Background
    objects: tuple[SceneObject, ...]


ClassAndColor = tuple[Category, str | None]


def choose_objects(rng: np.random.Generator, categories: Sequence[Category]) -> list[ClassAndColor]:
    """Draws what a scene holds, one to six objects; in about half of the larger scenes several share a class.

    Args:
        rng: the only source of chance.
        categories: the classes to choose from; at least six that don't confuse.

    Returns:
        class and color of each object, objects of one class side by side.
    """
    count = int(rng.choice(MAX_OBJECTS, p=OBJECT_COUNT_SHARES)) + 1
    sizes = [1] * count
    if count > 1 and rng.random() < _REPEATED_CLASS_SHARE:
        first = int(rng.integers(2, min(count, 4) + 1))
        rest = count - first
        second = [2] if rest >= 2 and rng.random() < 0.35 else []
        sizes = [first, *second, *[1] * (rest - sum(second))]
    chosen: list[ClassAndColor] = []
    taken: set[str] = set()
    for size in sizes:
        painted_only = size > 1 and rng.random() < _PAINTED_GROUP_SHARE
        while True:
            category = categories[int(rng.integers(len(categories)))]
            if category.name not in taken and (category.colors or not painted_only):
                break
        taken |= confused_with(category.name)
        chosen += [(category, color) for color in _choose_colors(rng, category, size)]
    return chosen


def draw_scene(rng: np.random.Generator, chosen: Sequence[ClassAndColor]) -> Scene:
    """Draws a scene with the given objects, `rng` being the only source of chance."""
    canvas, background = draw_background(rng, IMAGE_SIZE)
    shrink = 1.0
    while (placed := _place(rng, chosen, shrink)) is None:
        shrink *= 0.97
    owner = np.full((IMAGE_SIZE, IMAGE_SIZE), -1, dtype=np.int8)
    for index, (patch, solid, x, y) in enumerate(placed):
        canvas.paste(patch, (x, y), patch)
        owner[y : y + solid.shape[0], x : x + solid.shape[1]][solid] = index
    objects = []
    for index, (category, color) in enumerate(chosen):
        mask = owner == index
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        left, top = int(columns[0]), int(rows[0])
        width, height = int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top
        center = (left + width / 2, top + height / 2)
        objects.append(SceneObject(category, color, mask, (left, top, width, height), int(mask.sum()), center))
    return Scene(canvas, background, tuple(objects[index] for index in rng.permutation(len(objects))))


def _choose_colors(rng: np.random.Generator, category: Category, size: int) -> list[str | None]:
    if not category.colors:
        return [None] * size
    if size > 1 and rng.random() < 0.3:
        return [str(rng.choice(category.colors))] * size
    return [str(color) for color in rng.choice(category.colors, size=size, replace=size > len(category.colors))]


_Placed = tuple[Image.Image, NDArray[np.bool_], int, int]


def _place(rng: np.random.Generator, chosen: Sequence[ClassAndColor], shrink: float) -> list[_Placed] | None:
    """Returns patch, solid pixels, left and top for each object, later ones above earlier ones, or None."""
    low, high = _SIZE_LIMITS[len(chosen)]
    owner = np.zeros((IMAGE_SIZE, IMAGE_SIZE), dtype=np.int8)
    full = np.zeros(len(chosen) + 1)
    visible = np.zeros(len(chosen) + 1)
    result: list[_Placed] = []
    for index, (category, color) in enumerate(chosen, start=1):
        side = rng.uniform(low, high)
        # Neighbors of one class often differ clearly in size, so that size can tell them apart.
        if index > 1 and chosen[index - 2][0] is category and rng.random() < 0.4:
            side = high if side > (low + high) / 2 else low
        patch = _patch(rng, category, color, max(38.0, side * shrink))
        solid = np.asarray(patch.getchannel("A")) > 127
        height, width = solid.shape
        full[index] = visible[index] = solid.sum()
        if visible[index] < _MIN_VISIBLE_PIXELS:
            return None
        may_overlap = rng.random() < _OVERLAP_SHARE
        for attempt in range(16):
            x, y = int(rng.integers(0, IMAGE_SIZE - width + 1)), int(rng.integers(0, IMAGE_SIZE - height + 1))
            window = owner[y : y + height, x : x + width]
            hidden = np.bincount(window[solid], minlength=len(full))[: len(full)]
            hidden[0] = 0
            if hidden.any() and not (may_overlap or attempt >= 10):
                continue
            left = visible - hidden
            if (left[1:index] >= np.maximum(_MIN_VISIBLE_SHARE * full[1:index], _MIN_VISIBLE_PIXELS)).all():
                break
        else:
            return None
        visible = left
        window[solid] = index
        result.append((patch, solid, x, y))
    return result


def _patch(rng: np.random.Generator, category: Category, color: str | None, side: float) -> Image.Image:
    """Returns the sprite with `side` pixels on its longer side, tilted, sometimes mirrored, cropped to what shows."""
    width, height = sprite(category.code, color).size
    side *= min(_MAX_STRETCH, (max(width, height) / min(width, height)) ** 0.3)
    mirrored = not category.symmetric and rng.random() < 0.5
    return transformed_sprite(category.code, color, side, rng.uniform(-_MAX_ROTATION, _MAX_ROTATION), mirrored)
