"""Masks drawn over pictures: colors, outlines, sizes from tiny to large, and badges."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from neuraltuning.report.overlay import PALETTE, draw_masks, line_width, palette_color


def disc(size: int, x: float, y: float, radius: float) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[:size, :size]
    result: NDArray[np.bool_] = (columns - x) ** 2 + (rows - y) ** 2 <= radius**2
    return result


def test_fill_outline_and_surroundings() -> None:
    image = Image.new("RGB", (200, 200), (100, 100, 100))
    mask = disc(200, 100, 100, 50)
    drawn = np.asarray(draw_masks(image, mask[None])).astype(int)
    color = np.array(PALETTE[0])
    assert np.abs(drawn[100, 100] - (100 + color) / 2).max() <= 1  # half picture, half color
    assert (drawn[100, 50] == color).all()  # the outline is opaque
    assert (drawn[100, 49] > 200).all()  # a light line around it
    assert (drawn[~disc(200, 100, 100, 56)] == 100).all()  # and nothing beyond
    assert (np.asarray(image) == 100).all()  # the picture itself stays


def test_without_masks_the_picture_stays_as_it_is() -> None:
    image = Image.effect_noise((30, 20), 60)
    drawn = draw_masks(image, np.zeros((0, 20, 30), dtype=bool))
    assert drawn.mode == "RGB" and (np.asarray(drawn) == np.asarray(image.convert("RGB"))).all()
    empty = draw_masks(image, np.zeros((1, 20, 30), dtype=bool), labels=["1"])
    assert (np.asarray(empty) == np.asarray(drawn)).all()


@pytest.mark.parametrize("size", [2, 16, 64, 1500])
def test_every_size_keeps_its_size_and_shows_its_mask(size: int) -> None:
    image = Image.new("RGB", (size, size), (90, 90, 90))
    mask = np.zeros((1, size, size), dtype=bool)
    mask[0, size // 2, size // 2] = True  # a single pixel must be seen, too
    drawn = draw_masks(image, mask)
    assert drawn.size == (size, size)
    assert drawn.getpixel((size // 2, size // 2)) == PALETTE[0]


def test_lines_grow_with_the_picture() -> None:
    assert line_width((16, 16)) == 1
    assert line_width((6000, 4000)) > line_width((640, 480)) > line_width((224, 224)) >= 1


def test_a_mask_at_the_border_and_masks_on_each_other() -> None:
    image = Image.new("RGB", (60, 60), (0, 0, 0))
    masks = [disc(60, 0, 0, 20), disc(60, 20, 20, 20)]
    drawn = np.asarray(draw_masks(image, masks, colors=[(255, 0, 0), (0, 0, 255)])).astype(int)
    assert drawn[0, 0, 0] > drawn[0, 0, 2] and drawn[30, 30, 2] > drawn[30, 30, 0]


def test_badges_appear_on_their_masks_but_not_on_tiny_pictures() -> None:
    masks = [disc(200, 100, 100, 60)]
    plain, labeled = (draw_masks(Image.new("RGB", (200, 200)), masks, labels=labels) for labels in (None, ["1"]))
    changed = (np.asarray(plain) != np.asarray(labeled)).any(axis=2)
    assert changed[90:110, 90:110].any() and not changed[:80].any()
    small = [disc(40, 20, 20, 10)]
    assert draw_masks(Image.new("RGB", (40, 40)), small, labels=["1"]) == draw_masks(Image.new("RGB", (40, 40)), small)


def test_colors_begin_again_and_differ() -> None:
    assert len(set(PALETTE)) == len(PALETTE) == 7
    assert palette_color(7) == PALETTE[0]
    image = draw_masks(Image.new("RGB", (80, 10)), [disc(80, 5 + 10 * i, 5, 3)[:10] for i in range(8)])
    assert image.getpixel((5, 5)) == image.getpixel((75, 5))


def test_masks_of_another_size_and_missing_colors_are_refused() -> None:
    image = Image.new("RGB", (10, 20))
    with pytest.raises(ValueError, match="height, width"):
        draw_masks(image, np.zeros((1, 10, 20), dtype=bool))
    with pytest.raises(ValueError, match="as many colors"):
        draw_masks(image, np.zeros((2, 20, 10), dtype=bool), colors=[(0, 0, 0)])
