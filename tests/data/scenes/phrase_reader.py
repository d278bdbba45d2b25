"""Reads a referring phrase of Scenes and finds what it refers to, from masks, boxes and pixels alone.

Written independently of the generator: it parses the English, shares no code with it, and knows the classes by name.
"""

from __future__ import annotations

import re

import numpy as np

from neuraltuning.data.sample import ObjectAnnotation, Sample
from neuraltuning.data.scenes import CATEGORIES

_SINGULAR = {category.plural: category.name for category in CATEGORIES}
_HUES = {"red": 0, "orange": 27, "yellow": 53, "green": 125, "blue": 216, "purple": 275, "pink": 332}
_ORDINALS = {"second": 1, "third": 2}
_LEFT = ("left", "leftmost", "on the left", "farthest to the left", "on the far left")
_RIGHT = ("right", "rightmost", "on the right", "farthest to the right", "on the far right")
_TOP = ("upper", "top", "topmost", "highest", "at the top", "nearest to the top edge", "higher")
_BOTTOM = ("lower", "bottom", "bottommost", "lowest", "at the bottom", "nearest to the bottom edge")
_BIG = ("bigger", "larger", "big", "biggest", "largest")
_SMALL = ("smaller", "small", "little", "smallest", "tiniest")
_RELATIONS = {
    "to the left of": "left", "left of": "left", "to the right of": "right", "right of": "right",
    "above": "up", "over": "up", "below": "down", "under": "down", "beneath": "down",
    "closest to": "near", "nearest to": "near", "farthest from": "far", "most distant from": "far",
}  # fmt: skip


def referents(sample: Sample, text: str) -> list[int]:
    """Returns the objects that the phrase can be read to refer to; one where the phrase is unambiguous."""
    return _Reader(sample).read(text)


class _Reader:
    def __init__(self, sample: Sample) -> None:
        self.objects = sample.objects
        self.hue, self.saturation, _ = np.moveaxis(np.asarray(sample.image.convert("HSV"), dtype=np.int64), -1, 0)

    def read(self, text: str) -> list[int]:
        text = text.removeprefix("the ")
        partitive = re.fullmatch(r"(.+?) of the (?:two|three|four|five|six) ([a-z ]+)", text)
        if partitive:
            return self._described(self._named(_SINGULAR.get(partitive[2], "object")), partitive[1])
        for words in sorted(_RELATIONS, key=len, reverse=True):
            match = re.fullmatch(rf"(.+?) {words} the (.+)", text)
            if match and match[2] not in ("top edge", "bottom edge"):
                return self._related(self._named(match[1]), _RELATIONS[words], match[2])
        for name in {item.category for item in self.objects} | {"object", "thing"}:
            match = re.fullmatch(rf"(?:(.*) )?{name}(?: (.*))?", text)
            if match:
                return self._described(self._named(name), f"{match[1] or ''} {match[2] or ''}".strip())
        raise ValueError(f"cannot read {text!r}")

    def _named(self, noun: str) -> list[int]:
        if noun in ("object", "thing"):
            return list(range(len(self.objects)))
        return [index for index, item in enumerate(self.objects) if item.category == noun]

    def _described(self, group: list[int], words: str) -> list[int]:
        words = words.removesuffix(" one")
        if not words:
            return group
        color = re.fullmatch(r"(?:that is |in )?(\w+)", words)
        if color and color[1] in _HUES:
            return self._clearly_first(group, lambda item: -self._share_of_color(item, color[1]), 0.03)
        corner = re.fullmatch(r"(?:in|at) the (top|bottom) (left|right)(?: corner)?", words)
        if corner:
            return [index for index in group if self._in_corner(index, corner[1], corner[2])]
        order = re.fullmatch(r"(second|third) from the (left|top)", words)
        if order or words in ("middle", "in the middle") or words.startswith("between the other two"):
            rank, axis = (_ORDINALS[order[1]], order[2] == "top") if order else (1, self._tall(group))
            return self._ranked(group, int(axis), rank)
        for names, axis, sign in ((_LEFT, 0, 1), (_RIGHT, 0, -1), (_TOP, 1, 1), (_BOTTOM, 1, -1)):
            if words in names:
                return self._clearly_first(group, lambda item, a=axis, s=sign: s * center(item)[a], 19.9)
        if words in _BIG:
            return self._clearly_first(group, lambda item: -float(np.log(item.mask.sum())), np.log(1.49))
        if words in _SMALL:
            return self._clearly_first(group, lambda item: float(np.log(item.mask.sum())), np.log(1.49))
        raise ValueError(f"cannot read {words!r}")

    def _clearly_first(self, group: list[int], key, margin: float) -> list[int]:  # type: ignore[no-untyped-def]
        values = {index: key(self.objects[index]) for index in group}
        least = min(values.values())
        return [index for index in group if values[index] < least + margin]

    def _share_of_color(self, item: ObjectAnnotation, color: str) -> float:
        distance = np.abs((self.hue - _HUES[color] * 255 // 360 + 128) % 256 - 128)
        return float(((distance <= 7) & (self.saturation > 70) & item.mask).sum() / item.mask.sum())

    def _in_corner(self, index: int, vertical: str, horizontal: str) -> bool:
        x, y = center(self.objects[index])
        height, width = self.objects[index].mask.shape
        return (y < height / 2) == (vertical == "top") and (x < width / 2) == (horizontal == "left")

    def _tall(self, group: list[int]) -> bool:
        centers = np.array([center(self.objects[index]) for index in group])
        return bool(np.ptp(centers[:, 1]) > np.ptp(centers[:, 0]))

    def _ranked(self, group: list[int], axis: int, rank: int) -> list[int]:
        order = sorted(group, key=lambda index: center(self.objects[index])[axis])
        gaps = np.diff([center(self.objects[index])[axis] for index in order])
        return [order[rank]] if (gaps >= 19.9).all() else order

    def _related(self, group: list[int], relation: str, anchor_text: str) -> list[int]:
        (anchor,) = self.read("the " + anchor_text)
        group = [index for index in group if index != anchor]
        ax, ay = center(self.objects[anchor])
        offsets = {index: np.subtract(center(self.objects[index]), (ax, ay)) for index in group}
        if relation in ("near", "far"):
            sign = 1 if relation == "near" else -1
            return self._clearly_first(
                group, lambda item: sign * float(np.log(np.hypot(*np.subtract(center(item), (ax, ay))))), np.log(1.34)
            )
        axis, sign = {"left": (0, -1), "right": (0, 1), "up": (1, -1), "down": (1, 1)}[relation]
        return [
            i for i in group if sign * offsets[i][axis] > 5 and sign * offsets[i][axis] >= abs(offsets[i][1 - axis])
        ]


def center(item: ObjectAnnotation) -> tuple[float, float]:
    """Returns the center of the mask's bounding box."""
    rows, columns = np.flatnonzero(item.mask.any(axis=1)), np.flatnonzero(item.mask.any(axis=0))
    return (columns[0] + columns[-1] + 1) / 2, (rows[0] + rows[-1] + 1) / 2
