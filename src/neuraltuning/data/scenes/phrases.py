"""Referring expressions: noun phrases that are true of exactly one object of a scene."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from neuraltuning.data.sample import PHRASE_KINDS, Phrase
from neuraltuning.data.scenes.geometry import (
    DIRECTIONS,
    MIN_DISTANCE_RATIO,
    distance,
    extreme,
    is_clearly_bigger,
    is_in_direction,
    is_in_quadrant,
    ranked,
    region,
    spread,
    widest_axis,
)
from neuraltuning.data.scenes.layout import Scene, SceneObject

_NUMBER_WORDS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}
_ORDINALS = ("first", "second", "third", "fourth", "fifth")
_MAX_PHRASES_A_KIND = 3
_TAUTOLOGICAL_RELATION_SHARE = 0.3
"""How often an object that its name alone singles out gets a relation phrase with its name."""

_ROW_RATIO = 1.3
"""How much longer than high a group must be for "the middle one" to be meant from left to right (or the reverse)."""

# Templates by selector; {t} is the class's name, {n} the number of objects of the class, {ts} its plural.
_PAIR = {
    "left": ("the left {t}", "the {t} on the left", "the leftmost {t}", "the left one of the two {ts}"),
    "right": ("the right {t}", "the {t} on the right", "the rightmost {t}", "the right one of the two {ts}"),
    "top": ("the upper {t}", "the {t} at the top", "the top {t}", "the higher one of the two {ts}"),
    "bottom": ("the lower {t}", "the {t} at the bottom", "the bottom {t}", "the lower one of the two {ts}"),
}
_EXTREME = {
    "left": ("the leftmost {t}", "the {t} farthest to the left", "the {t} on the far left"),
    "right": ("the rightmost {t}", "the {t} farthest to the right", "the {t} on the far right"),
    "top": ("the topmost {t}", "the highest {t}", "the {t} nearest to the top edge"),
    "bottom": ("the lowest {t}", "the bottommost {t}", "the {t} nearest to the bottom edge"),
}
_MIDDLE = ("the middle {t}", "the {t} in the middle", "the {t} between the other two {ts}")
_IN_ROW = "the {rank} {t} from the {start}"
_CORNER = ("the {t} in the {c} corner", "the {t} at the {c}")
_BIGGER = ("the bigger {t}", "the larger of the two {ts}", "the big {t}", "the bigger of the two {ts}")
_SMALLER = ("the smaller {t}", "the smaller of the two {ts}", "the small {t}", "the little {t}")
_BIGGEST = ("the biggest {t}", "the largest {t}", "the largest of the {n} {ts}")
_SMALLEST = ("the smallest {t}", "the tiniest {t}", "the smallest of the {n} {ts}")
_COLOR = ("the {c} {t}", "the {t} that is {c}", "the {t} in {c}")
_RELATION = {
    "left": ("the {t} to the left of {a}", "the {t} left of {a}"),
    "right": ("the {t} to the right of {a}", "the {t} right of {a}"),
    "above": ("the {t} above {a}", "the {t} over {a}"),
    "below": ("the {t} below {a}", "the {t} under {a}", "the {t} beneath {a}"),
    "closest": ("the {t} closest to {a}", "the {t} nearest to {a}"),
    "farthest": ("the {t} farthest from {a}", "the {t} most distant from {a}"),
}


def short_name(scene: Scene, index: int) -> str | None:
    """Returns "the cat" or "the red car" where that singles the object out, otherwise None."""
    item = scene.objects[index]
    group = same_class(scene, index)
    if len(group) == 1:
        return f"the {item.category.name}"
    if item.color is not None and [scene.objects[other].color for other in group].count(item.color) == 1:
        return f"the {item.color} {item.category.name}"
    return None


def mention(scene: Scene, index: int, own: Sequence[Phrase]) -> str | None:
    """Returns how an answer names the object, or None if none of its phrases `own` names its class.

    Its class or colour where that singles it out, else its place among those of its class, else the shortest of `own`.
    One way for all answers: which of several true phrases comes is nothing that a reader of the question can know.
    """
    name = short_name(scene, index)
    if name is not None:
        return name
    # Not "the left one of the two dogs", nor "the object above the dog" of another dog.
    category = scene.objects[index].category.name
    texts = [phrase.text for phrase in own if category in phrase.text.split(" of the two ")[0].split(" of the ")[0]]
    texts = [text for text in texts if not text.startswith(("the object", "the thing"))]
    if not texts:
        return None
    return _place_in_class(scene, index) or min(texts, key=len)


def _place_in_class(scene: Scene, index: int) -> str | None:
    """Returns "the left cat" or what else is said of its place among those of its class, None if nothing clear is.

    Along the axis on which they are spread most, else along the other one.
    """
    group = same_class(scene, index)
    members, words = [scene.objects[one] for one in group], _words(scene, group)
    widest = widest_axis(members)
    for axis in (widest, 1 - widest):
        names = (("left", "right"), ("top", "bottom"))[axis]
        for name, last in zip(names, (False, True), strict=True):
            end = extreme(members, axis, last)
            if end is not None and group[end] == index:
                return (_PAIR if len(group) == 2 else _EXTREME)[name][0].format(**words)
        order = ranked(members, axis)
        if order is not None:
            template = _MIDDLE[0] if len(group) == 3 and axis == widest else _IN_ROW
            rank = _ORDINALS[order.index(group.index(index))]
            return template.format(**words, rank=rank, start=names[0])
    return next((t[0].format(**w) for one, _, t, w in _by_corner(scene.objects, group, words) if one == index), None)


def same_class(scene: Scene, index: int) -> list[int]:
    """Returns the indices of the objects of the same class, `index` among them."""
    name = scene.objects[index].category.name
    return [other for other, item in enumerate(scene.objects) if item.category.name == name]


def phrases(rng: np.random.Generator, scene: Scene) -> tuple[tuple[Phrase, ...], ...]:
    """Returns referring expressions for each object of the scene, grouped by kind in the order of `PHRASE_KINDS`."""
    found: list[dict[str, list[str]]] = [{} for _ in scene.objects]
    for index, kind, templates, words in _candidates(rng, scene):
        picked = templates[int(rng.integers(len(templates)))].format(**words)
        texts = found[index].setdefault(kind, [])
        if picked not in texts:
            texts.append(picked)
    result = []
    for kinds in found:
        chosen = []
        for kind in PHRASE_KINDS:
            texts = kinds.get(kind, [])
            order = rng.permutation(len(texts))[:_MAX_PHRASES_A_KIND] if texts else ()
            chosen += [Phrase(texts[i], kind) for i in order]
        result.append(tuple(chosen))
    return tuple(result)


_Candidate = tuple[int, str, Sequence[str], dict[str, str]]


def _candidates(rng: np.random.Generator, scene: Scene) -> Iterator[_Candidate]:
    """Yields object, kind, templates and the words for them, for everything that is clearly true of one object."""
    objects = scene.objects
    names = [short_name(scene, index) for index in range(len(objects))]
    for first in range(len(objects)):
        group = same_class(scene, first)
        if group[0] != first:
            continue
        words = _words(scene, group)
        if len(group) == 1:
            yield first, "class", (f"the {objects[first].category.name}",), {}
        else:
            yield from _by_color(scene, group, words)
            yield from _by_place(objects, group, words)
            yield from _by_size(objects, group, words)
        if len(group) > 1 or rng.random() < _TAUTOLOGICAL_RELATION_SHARE:
            yield from _by_relation(objects, names, group, words)
        if len(group) > 1:
            yield from _by_closeness(objects, names, group, words)
    if len(objects) > 1:
        noun = ("object", "thing")[int(rng.integers(2))]
        words = {"t": noun, "ts": noun + "s", "n": _NUMBER_WORDS[len(objects)]}
        everything = list(range(len(objects)))
        yield from _by_corner(objects, everything, words)
        yield from _by_size(objects, everything, words)
        yield from _by_relation(objects, names, everything, words)


def _words(scene: Scene, group: Sequence[int]) -> dict[str, str]:
    """What templates say of a group of one class."""
    category = scene.objects[group[0]].category
    return {"t": category.name, "ts": category.plural, "n": _NUMBER_WORDS.get(len(group), "")}


def _by_color(scene: Scene, group: Sequence[int], words: dict[str, str]) -> Iterator[_Candidate]:
    colors = [scene.objects[index].color for index in group]
    for index, color in zip(group, colors, strict=True):
        if color is not None and colors.count(color) == 1:
            yield index, "attribute", _COLOR, {**words, "c": color}


def _by_place(objects: Sequence[SceneObject], group: Sequence[int], words: dict[str, str]) -> Iterator[_Candidate]:
    members = [objects[index] for index in group]
    templates = _PAIR if len(group) == 2 else _EXTREME
    for axis, (low, high) in ((0, ("left", "right")), (1, ("top", "bottom"))):
        dominant = spread(members, axis) >= spread(members, 1 - axis)
        for name, last in ((low, False), (high, True)):
            end = extreme(members, axis, last)
            if end is not None and (dominant or len(group) > 2):
                yield group[end], "position", templates[name], words
        order = ranked(members, axis)
        if order is None or len(group) < 3 or spread(members, axis) < _ROW_RATIO * spread(members, 1 - axis):
            continue
        if len(group) == 3:
            yield group[order[1]], "position", _MIDDLE, words
        for rank in range(1, len(group) - 1):
            in_row = {"rank": _ORDINALS[rank], "start": low}
            yield group[order[rank]], "position", (_IN_ROW,), {**words, **in_row}
    yield from _by_corner(objects, group, words)


def _by_corner(objects: Sequence[SceneObject], group: Sequence[int], words: dict[str, str]) -> Iterator[_Candidate]:
    for index in group:
        corner = region(objects[index])
        if corner is None or " " not in corner:
            continue
        if not any(is_in_quadrant(objects[other], corner) for other in group if other != index):
            yield index, "position", _CORNER, {**words, "c": corner}


def _by_size(objects: Sequence[SceneObject], group: Sequence[int], words: dict[str, str]) -> Iterator[_Candidate]:
    for index in group:
        others = [objects[other] for other in group if other != index]
        if all(is_clearly_bigger(objects[index], other) for other in others):
            yield index, "size", _BIGGER if len(group) == 2 else _BIGGEST, words
        if all(is_clearly_bigger(other, objects[index]) for other in others):
            yield index, "size", _SMALLER if len(group) == 2 else _SMALLEST, words


def _by_relation(
    objects: Sequence[SceneObject], names: Sequence[str | None], group: Sequence[int], words: dict[str, str]
) -> Iterator[_Candidate]:
    for anchor, name in enumerate(names):
        if name is None:
            continue
        targets = [index for index in group if index != anchor]
        for direction in DIRECTIONS:
            states = [is_in_direction(objects[index], objects[anchor], direction) for index in targets]
            if states.count(True) == 1 and states.count(False) == len(states) - 1:
                yield targets[states.index(True)], "relation", _RELATION[direction], {**words, "a": name}


def _by_closeness(
    objects: Sequence[SceneObject], names: Sequence[str | None], group: Sequence[int], words: dict[str, str]
) -> Iterator[_Candidate]:
    for anchor, name in enumerate(names):
        if name is None or anchor in group:
            continue
        order = sorted(group, key=lambda index: distance(objects[index], objects[anchor]))
        lengths = [distance(objects[index], objects[anchor]) for index in order]
        if lengths[1] >= MIN_DISTANCE_RATIO * lengths[0]:
            yield order[0], "relation", _RELATION["closest"], {**words, "a": name}
        if lengths[-1] >= MIN_DISTANCE_RATIO * lengths[-2]:
            yield order[-1], "relation", _RELATION["farthest"], {**words, "a": name}
