"""Masks from COCO's segmentations: polygons, and run lengths in both spellings."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from neuraltuning.data.records import decode_mask

BEYOND = 1.0
"""Pixels that a polygon may reach out of its image without being counted; conventions differ by half a pixel."""

_cut_off: ContextVar[list[int] | None] = ContextVar("cut_off", default=None)


@contextmanager
def noting_cut_off() -> Iterator[list[int]]:
    """Collects, for each object whose polygons reach out of its image, by how many pixels they do in the block."""
    found: list[int] = []
    token = _cut_off.set(found)
    try:
        yield found
    finally:
        _cut_off.reset(token)


def mask_from_segmentation(segmentation: Any, height: int, width: int) -> NDArray[np.bool_]:
    """(height, width) bool, the union of an object's parts.

    Args:
        segmentation: a list of polygons [x1, y1, x2, y2, ...] in pixels, or a run-length code {"size", "counts"} whose
            counts are a list of runs, or COCO's compressed text.
        height, width: of the image.

    Raises:
        ValueError: it is neither, or doesn't fit the image; the message says what.
    """
    if isinstance(segmentation, dict):
        return _from_runs(segmentation, height, width)
    if not isinstance(segmentation, (list, tuple)) or not segmentation:
        raise ValueError("the segmentation is neither polygons nor run lengths")
    polygons = segmentation if isinstance(segmentation[0], (list, tuple)) else [segmentation]
    for polygon in polygons:
        if not isinstance(polygon, (list, tuple)) or len(polygon) < 6 or len(polygon) % 2:
            raise ValueError("a polygon of the segmentation has no three points")
        if not all(isinstance(v, (int, float)) and abs(v) <= sys.float_info.max for v in polygon):
            raise ValueError("a polygon of the segmentation holds something else than finite numbers")
    beyond = max(max(-min(p), max(p[0::2]) - width, max(p[1::2]) - height) for p in polygons)
    if beyond > BEYOND and (noted := _cut_off.get()) is not None:
        noted.append(math.ceil(beyond))
    # pycocotools computes in integers of the coordinates' size
    limit = 4.0 * max(height, width)
    clipped = [np.clip(np.asarray(polygon, dtype=np.float64), -limit, limit).tolist() for polygon in polygons]
    merged = coco_mask.merge(coco_mask.frPyObjects(clipped, height, width))
    return coco_mask.decode(merged).astype(bool)


def _from_runs(code: dict[str, Any], height: int, width: int) -> NDArray[np.bool_]:
    size, counts = code.get("size"), code.get("counts")
    if not isinstance(size, (list, tuple)) or list(size) != [height, width]:
        raise ValueError(f"the mask's size is {size}, the image's is {[height, width]}")
    if isinstance(counts, bytes):
        counts = counts.decode("ascii", errors="replace")
    if isinstance(counts, str):
        return decode_mask(counts, (height, width))
    if not isinstance(counts, (list, tuple)) or not all(isinstance(run, int) and run >= 0 for run in counts):
        raise ValueError("the mask's counts are neither text nor whole numbers")
    if sum(counts) != height * width:
        raise ValueError(f"the mask's runs add up to {sum(counts)} pixels instead of {height * width}")
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(width, height).T.copy()
