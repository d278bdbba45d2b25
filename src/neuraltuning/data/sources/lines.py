"""One's own data: a folder with a JSON-lines file a split, one line an image. The format is on docs/data.md.

{"image": "a.jpg", "objects": [{"category": "dog", "mask": [[10, 10, 60, 10, 60, 50]], "phrases": ["the left dog"]}],
 "captions": ["A dog."], "reasoning": [{"question": "Which barks?", "answer": "The dog <OBJ>.", "objects": [0]}]}
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from neuraltuning.data.images import decode_image
from neuraltuning.data.sample import OBJECT_TAG, ObjectAnnotation, Phrase, QuestionAnswer, Sample
from neuraltuning.data.sources.base import BadRecord, Entry, Split, object_mask, parse_one, read_file, read_picture
from neuraltuning.errors import InputError
from neuraltuning.reply import mask_box


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PhraseLine(_Strict):
    text: str
    kind: Literal["", "class", "attribute", "position", "size", "relation"] = ""


class ObjectLine(_Strict):
    category: str
    supercategory: str = ""
    mask: Any
    phrases: list[str | PhraseLine] = []


class QuestionLine(_Strict):
    question: str
    answer: str
    kind: str = ""
    objects: list[int] = []
    annotated: list[str] = []


class Line(_Strict):
    image: str
    id: str = ""
    objects: list[ObjectLine] = []
    captions: list[str] = []
    reasoning: list[QuestionLine] = []
    questions: list[QuestionLine] = []
    license: str = ""


def read_lines(folder: Path, images: Path) -> dict[str, Split]:
    """The splits of a folder of one's own.

    Args:
        folder: with `train.jsonl`, `validation.jsonl`, `test.jsonl`, ...
        images: with the pictures, and masks that are pictures.

    Raises:
        InputError: there is no such file, or one is no text.
    """
    splits = {}
    for path in sorted(folder.glob("*.jsonl")):
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"The file {path} can't be read as UTF-8 text: {error}.") from error
        lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
        entries = [
            Entry(f"line {number}", lambda s=path.stem, n=number, t=line: _read(s, n, t, images))  # type: ignore[misc]
            for number, line in lines
        ]
        splits[path.stem] = Split(entries, {"images": len(entries)})
    if not splits:
        raise InputError(f"{folder} holds no JSON-lines file (train.jsonl, validation.jsonl, ...).")
    return splits


def _read(split: str, number: int, text: str, images: Path) -> tuple[Sample, bytes]:
    line = parse_one(Line, text)
    picture, data = read_picture(images, line.image)
    size = (picture.height, picture.width)
    objects = tuple(_object(place, given, size, images) for place, given in enumerate(line.objects))
    sample = Sample(
        id=line.id or f"{split}-{number:06d}",
        image=picture,
        objects=objects,
        captions=tuple(line.captions),
        reasoning=tuple(_question("reasoning", place, q, len(objects)) for place, q in enumerate(line.reasoning)),
        questions=tuple(_question("questions", place, q, len(objects)) for place, q in enumerate(line.questions)),
        source="jsonl",
        license=line.license,
    )
    return sample, data


def _object(place: int, given: ObjectLine, size: tuple[int, int], images: Path) -> ObjectAnnotation:
    try:
        if isinstance(given.mask, str):
            path, data = read_file(images, given.mask, "mask")
            pixels = np.asarray(decode_image(data, f"The mask {path}").convert("L"))
            if pixels.shape != size:
                raise BadRecord(f"the mask {path} has {pixels.shape[0]} rows and {pixels.shape[1]} columns, not {size}")
            mask, box = pixels > 127, mask_box(pixels > 127)
            if not mask.any():
                raise BadRecord("the mask is empty")
        else:
            mask, box = object_mask(given.mask, size)
    except BadRecord as error:
        raise BadRecord(f"objects.{place}: {error}") from error
    phrases = tuple(Phrase(p, "") if isinstance(p, str) else Phrase(p.text, p.kind) for p in given.phrases)
    return ObjectAnnotation(given.category, given.supercategory, mask, box, phrases)


def _question(field: str, place: int, given: QuestionLine, object_count: int) -> QuestionAnswer:
    tags = given.answer.count(OBJECT_TAG)
    if tags != len(given.objects):
        raise BadRecord(f"{field}.{place}: its answer has {tags} {OBJECT_TAG}, but objects names {len(given.objects)}")
    wrong = [index for index in given.objects if not 0 <= index < object_count]
    if wrong:
        raise BadRecord(f"{field}.{place}: it names object {wrong[0]}, and objects has {object_count}, counted from 0")
    return QuestionAnswer(given.question, given.answer, given.kind, tuple(given.objects), tuple(given.annotated))
