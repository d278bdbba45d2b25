"""ReasonSeg (Lai et al. 2024, LISA): a JSON file of polygons and texts beside each picture, in a folder a split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydantic import BaseModel, FiniteFloat

from neuraltuning.data.sample import OBJECT_TAG, ObjectAnnotation, QuestionAnswer, Sample
from neuraltuning.data.sources.base import BadRecord, Entry, Split, parse_one, read_picture
from neuraltuning.errors import InputError
from neuraltuning.reply import mask_box

SPLITS = {"train": "train", "validation": "val", "test": "test"}
"""Split -> its folder."""
PUBLISHED = {"train": 239, "validation": 200, "test": 779}
LICENSE = "LicenseRef-ReasonSeg"

TARGET, IGNORED = 1, 2


class Shape(BaseModel):
    label: str
    points: list[tuple[FiniteFloat, FiniteFloat]]


class Annotation(BaseModel):
    text: list[str]
    is_sentence: bool
    shapes: list[Shape]


def read_reasonseg(folder: Path, images: Path) -> dict[str, Split]:
    """The splits of ReasonSeg whose folders are there.

    Args:
        folder: with the folders train, val and test, each with a JSON file a picture.
        images: with the same folders and the pictures; the same folder, as it is published.

    Raises:
        InputError: none of the folders is there, or one holds no JSON file.
    """
    splits = {}
    for split, name in SPLITS.items():
        if not (folder / name).is_dir():
            continue
        paths = sorted((folder / name).glob("*.json"))
        if not paths:
            raise InputError(f"{folder / name} holds no JSON file of ReasonSeg.")
        entries = [Entry(path.name, lambda s=split, p=path: _read(s, p, images)) for path in paths]  # type: ignore[misc]
        splits[split] = Split(entries, {"images": len(entries)}, {"images": PUBLISHED[split]})
    if not splits:
        raise InputError(f"{folder} holds none of ReasonSeg's folders ({', '.join(SPLITS.values())}).")
    return splits


def _read(split: str, path: Path, images: Path) -> tuple[Sample, bytes]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadRecord(f"it can't be read: {error.strerror or error}") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")  # as some of the published files are
    annotation = parse_one(Annotation, text)
    texts = [" ".join(text.split()) for text in annotation.text if text.strip()]
    if not texts:
        raise BadRecord("it has no text")
    if split != "train":
        texts = texts[:1]  # the one that is scored in the literature
    picture, picture_data = read_picture(images, f"{SPLITS[split]}/{path.stem}.jpg")
    drawn = draw(annotation.shapes, (picture.height, picture.width))
    mask, ignored = drawn == TARGET, drawn == IGNORED
    objects: tuple[ObjectAnnotation, ...] = ()
    if mask.any():
        objects = (ObjectAnnotation("", "", mask, mask_box(mask)),)
    answer = f"It is {OBJECT_TAG}." if objects else "There is none."
    questions = [text if annotation.is_sentence else f"What is {text} in this image?" for text in texts]
    sample = Sample(
        id=f"reasonseg-{split}-{path.stem}",
        image=picture,
        objects=objects,
        reasoning=tuple(QuestionAnswer(question, answer, "", (0,) * len(objects)) for question in questions),
        source="reasonseg",
        license=LICENSE,
        ignored=ignored if ignored.any() else None,
    )
    return sample, picture_data


def draw(shapes: list[Shape], size: tuple[int, int]) -> NDArray[np.uint8]:
    """(height, width) `TARGET`, `IGNORED` or 0: the shapes drawn over each other, the largest first.

    Raises:
        BadRecord: a shape has fewer than three points.
    """
    layers = []
    for shape in shapes:
        label = shape.label.lower()
        if label == "flag":
            continue
        if len(shape.points) < 3:
            raise BadRecord(f"a shape labelled {shape.label!r} has {len(shape.points)} points")
        layer = Image.new("1", (size[1], size[0]))
        points = [(int(x), int(y)) for x, y in shape.points]
        ImageDraw.Draw(layer).polygon(points, fill=1, outline=1)
        layers.append((np.asarray(layer), IGNORED if "ignore" in label else TARGET))
    drawn = np.zeros(size, dtype=np.uint8)
    for covered, value in sorted(layers, key=lambda layer: int(layer[0].sum()), reverse=True):
        drawn[covered] = value
    return drawn
