"""Scenes, the embedded data set: OpenMoji objects on varied backgrounds, annotated like MMUD (docs/scenes.md)."""

from __future__ import annotations

from neuraltuning.data.scenes.catalog import CATEGORIES, PROPERTIES, SUPERCATEGORIES, Category, Fact
from neuraltuning.data.scenes.dataset import SPLIT_SIZES, SceneDataset, categories
from neuraltuning.data.scenes.sprites import ATTRIBUTION, LICENSE
from neuraltuning.data.scenes.storage import read_scenes, write_scenes

__all__ = [
    "ATTRIBUTION",
    "CATEGORIES",
    "LICENSE",
    "PROPERTIES",
    "SPLIT_SIZES",
    "SUPERCATEGORIES",
    "Category",
    "Fact",
    "SceneDataset",
    "categories",
    "read_scenes",
    "write_scenes",
]
