"""Draws masks over a picture: a translucent fill, an outline in the same color, and a thin light line around it.

    from neuraltuning.report.overlay import PALETTE, draw_masks
    draw_masks(image, reply.masks).save("overlay.png")

The line widths follow the picture's size, so that masks look alike on 64 and on 6,000 pixels. Knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Color = tuple[int, int, int]

PALETTE: tuple[Color, ...] = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (230, 159, 0),
    (86, 180, 233),
    (240, 228, 66),
)
"""Colors that people with any color vision tell apart (Okabe and Ito 2008), neighbors far apart; the i-th mask of a
reply has the i-th color, and after seven they begin again."""

FILL_OPACITY = 0.5
HALO: Color = (255, 255, 255)
HALO_OPACITY = 0.85
SMALLEST_WITH_BADGES = 96
"""A badge on a smaller picture would hide what it names."""


def palette_color(index: int) -> Color:
    """The color of the mask at `index` of a reply."""
    return PALETTE[index % len(PALETTE)]


def draw_masks(
    image: Image.Image,
    masks: NDArray[np.bool_] | Sequence[NDArray[np.bool_]],
    colors: Sequence[Color] | None = None,
    labels: Sequence[str] | None = None,
) -> Image.Image:
    """A copy of `image` with masks drawn over it, later ones on top.

    Args:
        image: any mode and size.
        masks: (N, height, width) bool at the picture's size; none leave the picture as it is.
        colors: one a mask; the palette in order by default.
        labels: a short text a mask, drawn as a badge on it (not on pictures of less than 96 pixels).

    Returns:
        RGB, of the same size.

    Raises:
        ValueError: a mask isn't of the picture's size, or there are too few colors or labels.
    """
    picture = image.convert("RGB")
    colors = [palette_color(i) for i in range(len(masks))] if colors is None else list(colors)
    if len(colors) < len(masks) or (labels is not None and len(labels) < len(masks)):
        raise ValueError(f"{len(masks)} masks need as many colors and labels.")
    canvas = np.array(picture)
    width = line_width(picture.size)
    for mask, color in zip(masks, colors, strict=False):
        if mask.shape != canvas.shape[:2]:
            raise ValueError(f"A mask is {mask.shape} pixels (height, width), its picture {canvas.shape[:2]}.")
        _draw(canvas, np.asarray(mask, dtype=bool), color, width)
    drawn = Image.fromarray(canvas)
    if labels is not None and min(drawn.size) >= SMALLEST_WITH_BADGES:
        for mask, color, label in zip(masks, colors, labels, strict=False):
            _draw_badge(drawn, mask, color, label)
    return drawn


def line_width(size: tuple[int, int]) -> int:
    """Pixels of an outline in a picture of (width, height): growing with the shorter side, at least 1."""
    return max(1, round(min(size) / 140))


def _draw(canvas: NDArray[np.uint8], mask: NDArray[np.bool_], color: Color, width: int) -> None:
    """Blends one mask into the (H, W, 3) canvas, in place; works on the mask's surroundings only."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return
    halo_width = max(1, width // 2)
    margin = halo_width + 1
    top, bottom = max(0, rows[0] - margin), rows[-1] + margin + 1
    left, right = max(0, columns[0] - margin), columns[-1] + margin + 1
    area = canvas[top:bottom, left:right]
    inside = mask[top:bottom, left:right]

    halo = _grow(inside, halo_width) & ~inside
    outline = inside & _grow(~inside, width)
    _blend(area, halo, HALO, HALO_OPACITY)
    _blend(area, inside & ~outline, color, FILL_OPACITY)
    _blend(area, outline, color, 1.0)


def _blend(area: NDArray[np.uint8], where: NDArray[np.bool_], color: Color, opacity: float) -> None:
    mixed = area[where] * np.float32(1.0 - opacity) + np.array(color, dtype=np.float32) * np.float32(opacity)
    area[where] = (mixed + 0.5).astype(np.uint8)


def _grow(mask: NDArray[np.bool_], steps: int) -> NDArray[np.bool_]:
    """The mask grown by `steps` pixels; crosses and squares take turns, which makes nearly round corners."""
    for step in range(steps):
        grown = mask.copy()
        grown[1:] |= mask[:-1]
        grown[:-1] |= mask[1:]
        across = grown if step % 2 else mask
        wide = grown.copy()
        wide[:, 1:] |= across[:, :-1]
        wide[:, :-1] |= across[:, 1:]
        mask = wide
    return mask


def _draw_badge(picture: Image.Image, mask: NDArray[np.bool_], color: Color, label: str) -> None:
    """A filled disc with a short text on the mask's innermost part."""
    if not mask.any():
        return
    x, y = _anchor(mask)
    radius = max(6, round(min(picture.size) / 20))
    draw = ImageDraw.Draw(picture)
    x = min(max(x, radius + 1), picture.width - radius - 2)
    y = min(max(y, radius + 1), picture.height - radius - 2)
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color, outline=HALO, width=max(1, radius // 6))
    dark = sum(part * weight for part, weight in zip(color, (0.299, 0.587, 0.114), strict=True)) < 150
    draw.text((x, y), label, fill=HALO if dark else (0, 0, 0), anchor="mm", font=ImageFont.load_default(radius * 1.3))


def _anchor(mask: NDArray[np.bool_]) -> tuple[int, int]:
    """x, y of the mask's pixel nearest to its center, so that the badge of a ring sits on the ring."""
    rows, columns = np.nonzero(mask)
    distance = (rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2
    nearest = int(distance.argmin())
    return int(columns[nearest]), int(rows[nearest])
