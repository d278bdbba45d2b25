"""The catalog holds what the data set promises: enough classes, two wordings of each fact, nothing given away."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from neuraltuning.data.scenes import CATEGORIES, PROPERTIES, SUPERCATEGORIES, Category, categories
from neuraltuning.data.scenes.sprites import sprite

_NAMES = {category.name for category in CATEGORIES}


def test_there_are_enough_classes_and_the_held_out_ones_have_siblings() -> None:
    assert len(CATEGORIES) == len(_NAMES) >= 150
    assert len(categories("train")) >= 120
    held_out = categories("test_classes")
    assert 20 <= len(held_out) <= 30
    assert {category.name for category in held_out}.isdisjoint(category.name for category in categories("test"))
    trained = Counter(category.supercategory for category in categories("train"))
    assert all(trained[category.supercategory] >= 3 for category in held_out)
    assert len({category.supercategory for category in held_out}) >= 10


@pytest.mark.parametrize("category", CATEGORIES, ids=lambda category: category.name)
def test_facts_have_two_wordings_that_do_not_name_the_class(category: Category) -> None:
    assert len(category.facts) >= 4
    for fact in category.facts:
        assert fact.trained != fact.held_out
        assert set(fact.also) <= _NAMES - {category.name}
        for wording in (fact.trained, fact.held_out):
            assert not re.search(rf"\b({category.name}|{category.plural})\b", wording)


def test_no_wording_is_used_twice() -> None:
    wordings = [
        wording for category in CATEGORIES for fact in category.facts for wording in (fact.trained, fact.held_out)
    ]
    wordings += [wording for item in PROPERTIES for wording in {item.singular, item.held_out_singular}]
    assert max(Counter(wordings).values()) == 1


def test_properties_name_classes_that_exist() -> None:
    for item in PROPERTIES:
        assert {*item.members, *item.unclear} <= _NAMES | set(SUPERCATEGORIES)


@pytest.mark.parametrize("category", CATEGORIES, ids=lambda category: category.name)
def test_every_class_has_its_own_picture_in_each_of_its_colors(category: Category) -> None:
    pictures = {sprite(category.code, color).tobytes() for color in category.colors or (None,)}
    assert len(pictures) == max(1, len(category.colors))
    assert max(sprite(category.code, None).size) > 100


def test_the_documentation_lists_every_class() -> None:
    rows = (Path(__file__).parents[3] / "docs" / "scenes.md").read_text(encoding="utf-8").splitlines()
    for name in SUPERCATEGORIES:
        (row,) = [line for line in rows if line.startswith(f"| {name} |")]
        trained, held_out = ({*cell.strip(" |").split(", ")} - {"-"} for cell in row.split("|")[2:4])
        assert trained == {category.name for category in categories("train") if category.supercategory == name}
        assert held_out == {category.name for category in categories("test_classes") if category.supercategory == name}
