"""Anything in COCO's format: `instances_*.json` and `captions_*.json`, with the split in their names.

    annotations/instances_train2017.json    annotations/captions_train2017.json
    train2017/000000000009.jpg

Crowds, which are several objects in one, become no objects.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from neuraltuning.data.sample import Phrase, Sample
from neuraltuning.data.sources.base import Entry, Split, parse, read_picture
from neuraltuning.data.sources.instances import Annotation, Image, Instances, parse_instances, read_members
from neuraltuning.errors import InputError

SPLITS = {"val": "validation", "valid": "validation"}
"""A split's name in a file's, without its year -> ours, where they differ."""

_NAME = re.compile(r"(instances|captions)_(.+)")
_YEAR = re.compile(r"[-_]?\d{4}$")


class Caption(BaseModel):
    id: int
    image_id: int
    caption: str


class License(BaseModel):
    id: Any
    name: str


T = TypeVar("T", Annotation, Caption)


def read_coco(folder: Path, images: Path) -> dict[str, Split]:
    """The splits of a data set in COCO's format.

    Args:
        folder: with the files, or with a folder `annotations` of them.
        images: with the pictures, or with a folder of them that is called as the file's name ends, "train2017".

    Raises:
        InputError: there is no such file, one is damaged, or two are of one split.
    """
    found: dict[str, dict[str, Path]] = defaultdict(dict)
    for path in sorted((*folder.glob("*.json"), *folder.glob("annotations/*.json"))):
        if match := _NAME.fullmatch(path.stem):
            found[match[2]][match[1]] = path
    if not found:
        raise InputError(f"{folder} holds no instances_*.json and no captions_*.json, as instances_train.json.")
    splits: dict[str, Split] = {}
    for own, paths in found.items():
        bare = _YEAR.sub("", own)
        split = SPLITS.get(bare, bare)
        if split in splits:
            raise InputError(f"{folder} holds files of the split {split} of two years; leave those of one in it.")
        splits[split] = _read_split(split, own, paths, images)
    return splits


def _read_split(split: str, own: str, paths: Mapping[str, Path], folder: Path) -> Split:
    """A split from the files of its kinds; `own` is its name in theirs, `folder` that of the pictures."""
    values = {kind: read_members(path) for kind, path in paths.items()}
    images: dict[int, Image] = {}
    licenses: dict[str, str] = {}
    for kind, path in paths.items():
        images |= {image.id: image for image in parse(Image, values[kind].get("images"), path, "image")}
        named = parse(License, values[kind].get("licenses") or [], path, "license")
        licenses |= {str(one.id): one.name for one in named}
    instances = Instances(folder, {}, {}, {})
    captions: dict[int, list[Caption]] = {}
    if "instances" in paths:
        instances = parse_instances(values["instances"], paths["instances"])
    if "captions" in paths:
        given = parse(Caption, values["captions"].get("annotations"), paths["captions"], "annotation")
        captions = _by_image(given, images, paths["captions"])
    objects = _by_image(instances.annotations.values(), instances.images, instances.path)
    for annotation in instances.annotations.values():
        instances.category(annotation)

    def read(image: Image) -> tuple[Sample, bytes]:
        inside = image.file_name if os.path.isfile(folder / image.file_name) else f"{own}/{image.file_name}"
        picture, data = read_picture(folder, inside, (image.height, image.width))
        own_objects = objects.get(image.id, [])
        of_class = Counter(annotation.category_id for annotation in own_objects)
        sample = Sample(
            id=f"coco-{split}-{image.id}",
            image=picture,
            objects=tuple(
                instances.object(a, _phrases(a, instances, alone=of_class[a.category_id] == 1))
                for a in own_objects
                if not a.iscrowd
            ),
            captions=tuple(text for one in captions.get(image.id, []) if (text := " ".join(one.caption.split()))),
            source="coco",
            license=licenses.get(str(image.license), ""),
        )
        return sample, data

    entries = [Entry(f"image {number}", partial(read, image)) for number, image in sorted(images.items())]
    crowds = sum(1 for annotation in instances.annotations.values() if annotation.iscrowd)
    counts = {"images": len(images), "objects": len(instances.annotations) - crowds, "crowds": crowds}
    counts["captions"] = sum(map(len, captions.values()))
    return Split(entries, counts, file=(paths.get("instances") or paths["captions"]).name)


def _by_image(records: Iterable[T], images: Mapping[int, Image], path: Path) -> dict[int, list[T]]:
    grouped: dict[int, list[T]] = defaultdict(list)
    for record in records:
        if record.image_id not in images:
            raise InputError(
                f"{path}: annotation {record.id} is about image {record.image_id}, which the file doesn't have."
            )
        grouped[record.image_id].append(record)
    return grouped


def _phrases(annotation: Annotation, instances: Instances, *, alone: bool) -> tuple[Phrase, ...]:
    """The class name, where the object is the only one of its class in the image, crowds counted."""
    return (Phrase(f"the {instances.category(annotation).name}", "class"),) if alone else ()
