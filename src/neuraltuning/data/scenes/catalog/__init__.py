"""The catalog of Scenes: which classes of objects there are, what they are called and what is known of them.

Pure data: it knows nothing of images. One module a topic; `CATEGORIES` joins them, `PROPERTIES` spans them.
"""

from __future__ import annotations

import functools
from dataclasses import replace

from neuraltuning.data.scenes.catalog.animals import ANIMALS
from neuraltuning.data.scenes.catalog.category import OBJECT_COLORS, Category, Fact, indefinite_article
from neuraltuning.data.scenes.catalog.edibles import DRINKS, FOOD, FRUIT, VEGETABLES
from neuraltuning.data.scenes.catalog.places import BUILDINGS, ELECTRONICS, HOUSEHOLD, NATURE, PLANTS, STREET
from neuraltuning.data.scenes.catalog.properties import PROPERTIES, Property
from neuraltuning.data.scenes.catalog.things import CLOTHING, INSTRUMENTS, SPORTS, TOOLS, TOYS
from neuraltuning.data.scenes.catalog.vehicles import VEHICLES

SUPERCATEGORIES: dict[str, tuple[Category, ...]] = {
    "animal": ANIMALS,
    "fruit": FRUIT,
    "vegetable": VEGETABLES,
    "food": FOOD,
    "drink": DRINKS,
    "vehicle": VEHICLES,
    "tool": TOOLS,
    "instrument": INSTRUMENTS,
    "sport": SPORTS,
    "toy": TOYS,
    "clothing": CLOTHING,
    "household": HOUSEHOLD,
    "plant": PLANTS,
    "electronics": ELECTRONICS,
    "nature": NATURE,
    "building": BUILDINGS,
    "street": STREET,
}

CATEGORIES: tuple[Category, ...] = tuple(
    replace(category, supercategory=name) for name, group in SUPERCATEGORIES.items() for category in group
)
"""All classes, in a fixed order, each with its supercategory."""

CONFUSABLE: tuple[frozenset[str], ...] = (
    frozenset({"tree", "palm tree"}),
    frozenset({"panda", "teddy bear"}),
    frozenset({"keyboard", "piano"}),
    frozenset({"keyboard", "laptop"}),
    frozenset({"fish", "shark"}),
    frozenset({"football", "soccer ball"}),
    frozenset({"burger", "sandwich"}),
)
"""Classes that a name of another may cover ("the tree" for a palm tree); they never share an image."""


@functools.cache
def confused_with(name: str) -> frozenset[str]:
    """Returns the names of the classes that can't stand beside the class `name` as another one, `name` among them."""
    return frozenset({name}).union(*(group for group in CONFUSABLE if name in group))


__all__ = [
    "CATEGORIES",
    "CONFUSABLE",
    "OBJECT_COLORS",
    "PROPERTIES",
    "SUPERCATEGORIES",
    "Category",
    "Fact",
    "Property",
    "confused_with",
    "indefinite_article",
]
