"""An item's picture and masks as they are shown to a person. Knows nothing of pages or formats."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import maximum_filter, minimum_filter

from neuraltuning.data.sample import Sample
from neuraltuning.report.overlay import HALO, HALO_OPACITY, Color, line_width, palette_color

MAX_SIDE = 2048
"""Longest side of a shown picture, in pixels; a larger one is scaled down, and its masks with it."""
FILL_OPACITY = 0.5
JPEG_QUALITY = 92


def shown_size(sample: Sample) -> tuple[int, int]:
    """Width and height in which a sample is shown, in pixels."""
    scale = min(1.0, MAX_SIDE / max(sample.image.size))
    return max(1, round(sample.image.width * scale)), max(1, round(sample.image.height * scale))


def picture_jpeg(sample: Sample) -> bytes:
    """The picture's JPEG file, of `shown_size`."""
    buffer = io.BytesIO()
    sample.image.resize(shown_size(sample)).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def shown_mask(sample: Sample, index: int) -> NDArray[np.bool_]:
    """(height, width) bool: an object's mask in `shown_size`."""
    mask = Image.fromarray(sample.objects[index].mask)
    return np.asarray(mask.resize(shown_size(sample), Image.Resampling.NEAREST), dtype=bool)


def mask_png(sample: Sample, index: int) -> bytes:
    """A transparent picture of `shown_size` with an object's mask: a translucent fill, an outline, a light line."""
    mask = shown_mask(sample, index).astype(np.uint8)
    width = line_width((mask.shape[1], mask.shape[0]))
    # 1: the light line, 2: the outline, 3: the fill
    layers = maximum_filter(mask, 2 * max(1, width // 2) + 1) + mask + minimum_filter(mask, 2 * width + 1)
    drawn = Image.fromarray(layers)
    color = palette_color(index)
    drawn.putpalette([0, 0, 0, *HALO, *color, *color])
    opacities = bytes((0, round(255 * HALO_OPACITY), 255, round(255 * FILL_OPACITY)))
    buffer = io.BytesIO()
    drawn.save(buffer, "PNG", transparency=opacities)
    return buffer.getvalue()


def css_color(color: Color) -> str:
    """ "#0072b2"."""
    return "#{:02x}{:02x}{:02x}".format(*color)
