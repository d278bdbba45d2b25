"""Backgrounds with a color that has a name and a pattern that has one; knows nothing of objects."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Ranges of hue (degrees), saturation and value. Pale to medium, so that the sprites stand out.
_COLORS: dict[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    "white": ((0, 360), (0.0, 0.02), (0.97, 1.0)),
    "gray": ((0, 360), (0.0, 0.03), (0.6, 0.75)),
    "beige": ((35, 42), (0.18, 0.28), (0.84, 0.92)),
    "yellow": ((52, 57), (0.4, 0.6), (0.93, 1.0)),
    "orange": ((24, 30), (0.42, 0.6), (0.93, 1.0)),
    "pink": ((332, 345), (0.22, 0.4), (0.95, 1.0)),
    "green": ((105, 135), (0.28, 0.5), (0.7, 0.92)),
    "turquoise": ((172, 182), (0.35, 0.6), (0.75, 0.9)),
    "blue": ((208, 222), (0.3, 0.55), (0.82, 0.98)),
    "purple": ((268, 280), (0.25, 0.45), (0.75, 0.92)),
}
BACKGROUND_COLORS = tuple(_COLORS)
PATTERNS = ("plain", "gradient", "striped", "dotted", "checkered", "speckled", "mottled")
_PATTERN_SHARES = (0.25, 0.2, 0.13, 0.12, 0.1, 0.1, 0.1)


@dataclass(frozen=True, slots=True)
class Background:
    """What there is to say about a background.

    Attributes:
        color: its main color, one of `BACKGROUND_COLORS`; of a gradient, the color it starts from.
        pattern: one of `PATTERNS`.
        second_color: of a gradient, the color it ends in; otherwise "".
    """

    color: str
    pattern: str
    second_color: str = ""

    @property
    def noun_phrase(self) -> str:
        """ "a striped green background"."""
        if self.second_color:
            return f"a background that fades from {self.color} to {self.second_color}"
        return f"a {self.pattern} {self.color} background"

    @property
    def sentence(self) -> str:
        """ "The background is striped and green."."""
        if self.second_color:
            return f"The background fades from {self.color} to {self.second_color}."
        return f"The background is {self.pattern} and {self.color}."


def draw_background(rng: np.random.Generator, size: int) -> tuple[Image.Image, Background]:
    """Draws a background.

    Returns:
        RGB image of `size` by `size` pixels, and its description.
    """
    pattern = str(rng.choice(PATTERNS, p=_PATTERN_SHARES))
    color = str(rng.choice(BACKGROUND_COLORS))
    first = _shade(rng, color)
    image = Image.new("RGB", (size, size), _rounded(first))
    if pattern == "plain":
        return image, Background(color, pattern)
    if pattern == "gradient":
        other = str(rng.choice([name for name in BACKGROUND_COLORS if name != color]))
        second, description = _shade(rng, other), Background(color, pattern, other)
    else:
        # The second shade stays close to the first, so that the color keeps its name.
        second = first * 0.86 if color == "white" or rng.random() < 0.5 else first * 0.5 + 127.5
        description = Background(color, pattern)
    image.paste(_rounded(second), (0, 0), Image.fromarray(_weights(rng, pattern, size)))
    return image, description


def _rounded(shade: NDArray[np.float32]) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in shade.round())
    return red, green, blue


def _shade(rng: np.random.Generator, color: str) -> NDArray[np.float32]:
    hue, saturation, value = (rng.uniform(*limits) for limits in _COLORS[color])
    return np.array(colorsys.hsv_to_rgb(hue / 360, saturation, value), dtype=np.float32) * 255


def _weights(rng: np.random.Generator, pattern: str, size: int) -> NDArray[np.uint8]:
    """Returns (size, size) shares of the second shade in 0..255."""
    if pattern == "speckled":
        return rng.integers(0, 256, (size, size), dtype=np.uint8)
    if pattern == "mottled":
        cells = Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8))
        return np.asarray(cells.resize((size, size), Image.Resampling.BICUBIC))
    steps = np.arange(size, dtype=np.float32)
    period = float(rng.uniform(14, 34))
    if pattern == "dotted":
        squares = (steps % period - period / 2) ** 2
        inside = squares[:, None] + squares[None, :] < (period * float(rng.uniform(0.2, 0.32))) ** 2
        return inside.astype(np.uint8) * 255
    if pattern == "checkered":
        odd = (steps // period % 2).astype(np.uint8)
        return (odd[:, None] ^ odd[None, :]) * 255
    angle = rng.uniform(0, 2 * np.pi) if pattern == "gradient" else rng.integers(4) * np.pi / 4
    ramp = np.add.outer(steps * np.float32(np.sin(angle)), steps * np.float32(np.cos(angle)))
    if pattern == "gradient":
        low, high = ramp.min(), ramp.max()
        return ((ramp - low) * (255 / (high - low))).astype(np.uint8)
    return (ramp % period < period / 2).astype(np.uint8) * 255
