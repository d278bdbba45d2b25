"""COCO's file of instances, `instances.json`: images, objects with polygons or run lengths, and classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from neuraltuning.data.sample import ObjectAnnotation, Phrase
from neuraltuning.data.sources.base import BadRecord, object_mask, parse, read_json
from neuraltuning.errors import InputError


class Image(BaseModel):
    id: int
    file_name: str
    height: int
    width: int
    license: Any = None


class Annotation(BaseModel):
    id: int
    image_id: int
    category_id: int
    segmentation: Any
    iscrowd: int = 0


class Category(BaseModel):
    id: int
    name: str
    supercategory: str | None = None


@dataclass(frozen=True)
class Instances:
    """What such a file holds, each by its id.

    Attributes:
        path: the file, for sentences.
    """

    path: Path
    images: dict[int, Image]
    annotations: dict[int, Annotation]
    categories: dict[int, Category]

    def category(self, annotation: Annotation) -> Category:
        """The class of an object.

        Raises:
            InputError: the file doesn't have it.
        """
        if annotation.category_id not in self.categories:
            raise InputError(f"{self.path}: annotation {annotation.id} has no category {annotation.category_id}.")
        return self.categories[annotation.category_id]

    def object(self, annotation: Annotation, phrases: tuple[Phrase, ...] = ()) -> ObjectAnnotation:
        """An object with its mask, the polygons united and cut off at the image's edge, and the mask's box.

        Raises:
            BadRecord: its segmentation is none, or covers nothing.
        """
        category, image = self.category(annotation), self.images[annotation.image_id]
        try:
            mask, box = object_mask(annotation.segmentation, (image.height, image.width))
        except BadRecord as error:
            raise BadRecord(f"annotation {annotation.id}: {error}") from error
        return ObjectAnnotation(category.name, category.supercategory or "", mask, box, phrases)


def read_instances(path: Path) -> Instances:
    """Reads such a file.

    Raises:
        InputError: it is missing, damaged or something else.
    """
    return parse_instances(read_members(path), path)


def parse_instances(value: dict[str, Any], path: Path) -> Instances:
    """What the object in such a file holds.

    Raises:
        InputError: a record of it isn't what it should be.
    """
    return Instances(
        path,
        {image.id: image for image in parse(Image, value.get("images"), path, "image")},
        {a.id: a for a in parse(Annotation, value.get("annotations"), path, "annotation")},
        {category.id: category for category in parse(Category, value.get("categories"), path, "category")},
    )


def read_members(path: Path) -> dict[str, Any]:
    """The object in a JSON file in COCO's format.

    Raises:
        InputError: it is missing, damaged, or no object.
    """
    value = read_json(path)
    if not isinstance(value, dict):
        raise InputError(f"{path} is not in COCO's format: it holds no object with images and annotations.")
    return value
