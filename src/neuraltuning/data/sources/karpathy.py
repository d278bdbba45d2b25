"""COCO captions in Karpathy's split (Karpathy and Fei-Fei 2015): `dataset_coco.json`, five captions an image."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from pydantic import BaseModel

from neuraltuning.data.sample import Sample
from neuraltuning.data.sources.base import BadRecord, Entry, Split, parse, read_json, read_picture
from neuraltuning.errors import InputError

FILE = "dataset_coco.json"
SPLITS = {"restval": "train", "val": "validation"}
"""The literature trains on what Karpathy calls "restval", too."""
PUBLISHED = {"train": 113_287, "validation": 5_000, "test": 5_000}
LICENSE = "LicenseRef-Flickr"


class Sentence(BaseModel):
    raw: str


class Image(BaseModel):
    cocoid: int
    filepath: str = ""
    filename: str
    split: str
    sentences: list[Sentence]


def read_karpathy(folder: Path, images: Path) -> dict[str, Split]:
    """The splits of COCO's captions.

    Args:
        folder: with `dataset_coco.json`.
        images: with the folders train2014 and val2014.

    Raises:
        InputError: the file is missing, damaged or something else.
    """
    path = folder / FILE
    value = read_json(path)
    if not isinstance(value, dict):
        raise InputError(f"{path} is not Karpathy's file: it holds no object with images.")
    by_split: dict[str, list[Image]] = defaultdict(list)
    for image in parse(Image, value.get("images"), path, "image"):
        by_split[SPLITS.get(image.split, image.split)].append(image)
    splits = {}
    for split, members in sorted(by_split.items()):
        entries = [
            Entry(f"image {image.cocoid}", lambda s=split, i=image: _read(s, i, images))  # type: ignore[misc]
            for image in members
        ]
        counts = {"images": len(members), "captions": sum(len(image.sentences) for image in members)}
        known = {"images": PUBLISHED[split]} if split in PUBLISHED else {}
        splits[split] = Split(entries, counts, known, path.name)
    return splits


def _read(split: str, image: Image, images: Path) -> tuple[Sample, bytes]:
    picture, data = read_picture(images, f"{image.filepath}/{image.filename}".lstrip("/"))
    captions = tuple(text for sentence in image.sentences if (text := " ".join(sentence.raw.split())))
    if not captions:
        raise BadRecord("it has no caption")
    identity = f"coco-{split}-{image.cocoid}"
    return Sample(identity, picture, captions=captions, source="coco-captions", license=LICENSE), data
