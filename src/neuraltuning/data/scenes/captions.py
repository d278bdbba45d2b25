"""Captions: one to three sentences that name every object, some places and the background."""

from __future__ import annotations

import numpy as np

from neuraltuning.data.scenes.catalog import indefinite_article
from neuraltuning.data.scenes.geometry import DIRECTIONS, is_in_direction, region
from neuraltuning.data.scenes.layout import Scene
from neuraltuning.data.scenes.phrases import same_class, short_name

NUMBER_WORDS = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}
RELATION_WORDS = {"left": "to the left of", "right": "to the right of", "above": "above", "below": "below"}

# {items}: "two dogs and a cat"; {bg}: "a striped green background"; {place}: zero to two sentences.
_TEMPLATES = (
    "{Items} on {bg}. {place}",
    "The picture shows {items}. {place} {background}",
    "There {is_are} {items} in this picture. {place} {background}",
    "On {bg} you can see {items}. {place}",
    "This image contains {items} on {bg}. {place}",
    "{background} In front of it {is_are} {items}. {place}",
)
_REGION_PLACES = {
    "middle": "in the middle",
    "left": "on the left",
    "right": "on the right",
    "top": "at the top",
    "bottom": "at the bottom",
}


def captions(rng: np.random.Generator, scene: Scene) -> tuple[str, ...]:
    """Returns two or three captions, each of another template."""
    order = rng.permutation(len(_TEMPLATES))[: int(rng.integers(2, 4))]
    return tuple(_caption(rng, scene, _TEMPLATES[index]) for index in order)


def enumerate_words(items: list[str]) -> str:
    """Returns "a, b and c"."""
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]


def capitalize(text: str) -> str:
    """Returns the text with its first letter in upper case and the rest as it is."""
    return text[0].upper() + text[1:]


def _caption(rng: np.random.Generator, scene: Scene, template: str) -> str:
    items = _items(rng, scene)
    wanted = 2 if len(scene.objects) <= 3 else 1
    places = _places(scene)
    chosen = [places[index] for index in rng.permutation(len(places))[:wanted]]
    text = template.format(
        items=enumerate_words(items),
        Items=capitalize(enumerate_words(items)),
        is_are="is" if len(items) == 1 and items[0].startswith(("a ", "an ")) else "are",
        bg=scene.background.noun_phrase,
        background=scene.background.sentence,
        # Two places in one sentence, so that no caption has more than three.
        place=capitalize(" and ".join(chosen)) + "." if chosen else "",
    )
    return " ".join(text.split())


def _items(rng: np.random.Generator, scene: Scene) -> list[str]:
    """Returns "two dogs", "a red car", ... in random order of the classes."""
    items = []
    firsts = [index for index in range(len(scene.objects)) if same_class(scene, index)[0] == index]
    for first in (firsts[i] for i in rng.permutation(len(firsts))):
        category = scene.objects[first].category
        colors = [scene.objects[index].color for index in same_class(scene, first)]
        if len(colors) == 1:
            words = f"{colors[0]} {category.name}" if colors[0] else category.name
            items.append(f"{indefinite_article(words)} {words}")
        elif len(colors) == 2 and colors[0] != colors[1]:
            items += [f"{indefinite_article(str(color))} {color} {category.name}" for color in colors]
        else:
            color = f"{colors[0]} " if colors[0] and len(set(colors)) == 1 else ""
            items.append(f"{NUMBER_WORDS[len(colors)]} {color}{category.plural}")
    return items


def _places(scene: Scene) -> list[str]:
    """Returns true statements about where things are, without a full stop; at most one about each object."""
    statements = []
    named = [(index, name) for index in range(len(scene.objects)) if (name := short_name(scene, index))]
    for index, name in named:
        item = scene.objects[index]
        options = [
            f"{name} is {RELATION_WORDS[direction]} {other_name}"
            for other, other_name in named
            if other < index
            for direction in DIRECTIONS
            if is_in_direction(item, scene.objects[other], direction)
        ]
        where = region(item)
        if where is not None:
            options.append(f"{name} is {_REGION_PLACES.get(where, f'in the {where} corner')}")
        if options:
            statements.append(options[0])
    return statements
