"""Opening pictures from outside: every mode becomes 8-bit RGB, the right way up; what can't is refused in a sentence.

Knows nothing of encoders; those stretch the result to their own size.
"""

from __future__ import annotations

import io
import os
import warnings
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from neuraltuning.errors import InputError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""Formats that are opened. Pillow knows more, but some of those start other programs (EPS) or hold no pictures."""

MAX_SIDE = 16_384
"""Longest accepted width or height in pixels."""

MAX_PIXELS = 64_000_000
"""Largest accepted width x height; beyond it a small file can unpack to gigabytes."""

_SIXTEEN_BIT_MODES = ("I;16", "I;16L", "I;16B", "I;16N")


def open_image(path: str | os.PathLike[str]) -> Image.Image:
    """Opens the picture at `path` as 8-bit RGB, as `validate_image` converts it.

    Raises:
        InputError: the file is missing, empty, damaged, animated, too large, or not a picture of one of `FORMATS`.
    """
    try:
        if os.path.getsize(path) == 0 and not os.path.isdir(path):
            raise InputError(f"The image {path} is empty (0 bytes); get a complete copy.")
    except FileNotFoundError:
        raise InputError(f"There is no image {path}.") from None
    except PermissionError:
        raise InputError(f"The image {path} may not be read; change its permissions.") from None
    return _open(path, f"The image {path}")


def decode_image(data: bytes, where: str, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The picture in a file's bytes as 8-bit RGB, as `open_image` gives it.

    Args:
        data: PNG, JPEG, ...
        where: what it is, as the beginning of a sentence: "The image of record 12".
        max_pixels: largest accepted width x height.

    Raises:
        InputError: as `open_image` does.
    """
    if not data:
        raise InputError(f"{where} is empty (0 bytes); get a complete copy.")
    return _open(io.BytesIO(data), where, max_pixels)


def _open(source: Any, where: str, max_pixels: int = MAX_PIXELS) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on large pictures, refused below, and on damaged tags, not ours to mend
            with Image.open(source, formats=FORMATS) as image:
                return validate_image(image, where, max_pixels=max_pixels)
    except InputError:
        raise
    except IsADirectoryError:
        raise InputError(f"{where} is a folder, not an image.") from None
    except PermissionError:
        raise InputError(f"{where} may not be read; change its permissions.") from None
    except UnidentifiedImageError:
        raise InputError(f"{where} is not a picture in a known format ({', '.join(FORMATS)}); convert it.") from None
    except Image.DecompressionBombError:
        raise InputError(_too_large(where, max_pixels)) from None
    except Exception as error:  # each of Pillow's readers has its own for damaged bytes
        raise InputError(_damaged(where)) from error


def validate_image(image: Image.Image, where: str, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The picture as 8-bit RGB of its own size: EXIF orientation applied, alpha on white, 16 bits scaled down to 8.

    Args:
        image: a Pillow image of any mode; a lazily opened one is only loaded once its size is known to be acceptable.
        where: what it is, as the beginning of a sentence: "The image cat.png".
        max_pixels: largest accepted width x height.

    Raises:
        InputError: no Pillow image, without pixels, too large, animated, damaged, or with values that have no
            agreed meaning as colors (32-bit values beyond those of 16 bits).
    """
    if not isinstance(image, Image.Image):
        raise InputError(f"{where} must be a Pillow image, but is of type {type(image).__name__}: use PIL.Image.open.")
    width, height = image.size
    if width == 0 or height == 0:
        raise InputError(f"{where} has no pixels ({width} x {height}); give another one.")
    if max(width, height) > MAX_SIDE or width * height > max_pixels:
        raise InputError(_too_large(f"{where} ({width} x {height} pixels)", max_pixels))
    try:
        # Phones save a photograph and its preview or depth map as MPO: its first picture is the photograph.
        frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
        if frames == 1:
            image.load()
            image = ImageOps.exif_transpose(image)
    except Exception as error:  # each of Pillow's readers has its own for damaged bytes
        raise InputError(_damaged(where)) from error
    if frames > 1:
        raise InputError(f"{where} holds {frames} frames; save the one that is meant as a picture of its own.")
    return _to_rgb(image, where)


def _damaged(what: str) -> str:
    return f"{what} is truncated or damaged; get a complete copy."


def _too_large(what: str, max_pixels: int) -> str:
    return f"{what} is too large; scale it to at most {MAX_SIDE:,} pixels a side and {max_pixels:,} pixels in all."


def _to_rgb(image: Image.Image, where: str) -> Image.Image:
    if image.mode in (*_SIXTEEN_BIT_MODES, "I", "F"):
        return _from_wide_values(np.asarray(image), where)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def _from_wide_values(values: np.ndarray, where: str) -> Image.Image:
    """Grey values of more than 8 bits; Pillow's own conversion would clip them at 255."""
    low, high = float(values.min()), float(values.max())
    if values.dtype.kind == "f" and low >= 0 and high <= 1:
        scale = 255.0
    elif values.dtype.kind == "f" and low >= 0 and high <= 255:
        scale = 1.0
    elif values.dtype.kind in "iu" and low >= 0 and high <= 65_535:
        scale = 255.0 / 65_535.0
    else:
        raise InputError(f"{where} holds values from {low:g} to {high:g}; save it with 8 or 16 bits a channel.")
    grey = np.rint(values.astype(np.float32) * scale).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")
