"""What a tuned model answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True, eq=False)
class Reply:
    """A reply's text and what its task tokens were decoded to.

    Attributes:
        text: the generated text with its task tokens.
        masks: (N, height, width) bool at the input image's size, one a `<OBJ>`, in the order of the tokens.
        scores: (N,) float32 in 0..1, the mask decoder's confidence in each mask: its mean probability inside the mask.
        images: one picture a `<GEN>`, in order.
        decoded: task token -> what its decoder made of each occurrence, in order; every token is here, those of tasks
            that users add as well.
    """

    text: str
    masks: NDArray[np.bool_] = field(default_factory=lambda: np.zeros((0, 0, 0), dtype=bool))
    scores: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0,), dtype=np.float32))
    images: tuple[Image.Image, ...] = ()
    decoded: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    @property
    def boxes(self) -> NDArray[np.float32]:
        """(N, 4) x, y, width, height of each mask in pixels (COCO convention); zeros where a mask is empty."""
        return np.array([mask_box(mask) for mask in self.masks], dtype=np.float32).reshape(-1, 4)


def mask_box(mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """The smallest box around a (height, width) mask: x, y, width, height in pixels; zeros for an empty mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return 0.0, 0.0, 0.0, 0.0
    x, y = float(columns[0]), float(rows[0])
    return x, y, float(columns[-1]) + 1.0 - x, float(rows[-1]) + 1.0 - y


def assemble_reply(text: str, decoded: Mapping[str, Sequence[Any]], size: tuple[int, int] | None) -> Reply:
    """Sorts what the decoders gave into a reply.

    Args:
        text: the reply's text.
        decoded: task token -> what each of its occurrences was decoded to: (mask, score) pairs or pictures.
        size: (height, width) of the input image, None without one.
    """
    masks = decoded.get("<OBJ>", ())
    height, width = size or (0, 0)
    return Reply(
        text=text,
        masks=np.stack([m for m, _ in masks]) if masks else np.zeros((0, height, width), dtype=bool),
        scores=np.array([s for _, s in masks], dtype=np.float32),
        images=tuple(decoded.get("<GEN>", ())),
        decoded={token: tuple(values) for token, values in decoded.items()},
    )
