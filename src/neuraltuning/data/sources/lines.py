"""One's own data: a folder with a JSON-lines file a split, one line an image. The format is on docs/data.md.

{"image": "a.jpg", "objects": [{"category": "dog", "mask": [[10, 10, 60, 10, 60, 50]], "phrases": ["the left dog"]}],
 "captions": ["A dog."], "reasoning": [{"question": "Which barks?", "answer": "The dog <OBJ>.", "objects": [0]}]}
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from neuraltuning.data.sample import OBJECT_TAG, Expression, ObjectAnnotation, Phrase, QuestionAnswer, Sample
from neuraltuning.data.sources.base import (
    BadRecord,
    Entry,
    Split,
    object_mask,
    parse_one,
    read_mask,
    read_picture,
    text_lines,
)
from neuraltuning.errors import InputError


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


class ExpressionLine(_Strict):
    text: str
    objects: list[int]


class Line(_Strict):
    image: str
    id: str = ""
    objects: list[ObjectLine] = []
    expressions: list[ExpressionLine] = []
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
        entries = [
            Entry(f"line {number}", lambda s=path.stem, n=number, t=line: _read(s, n, t, images))  # type: ignore[misc]
            for number, line in text_lines(path)
        ]
        splits[path.stem] = Split(entries, {"images": len(entries)}, file=path.name)
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
        expressions=tuple(
            Expression(e.text, _indices("expressions", place, e.objects, len(objects)))
            for place, e in enumerate(line.expressions)
        ),
    )
    return sample, data


def _object(place: int, given: ObjectLine, size: tuple[int, int], images: Path) -> ObjectAnnotation:
    try:
        if isinstance(given.mask, str):
            mask, box = read_mask(images, given.mask, size)
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
    objects = _indices(field, place, given.objects, object_count)
    return QuestionAnswer(given.question, given.answer, given.kind, objects, tuple(given.annotated))


def _indices(field: str, place: int, objects: list[int], object_count: int) -> tuple[int, ...]:
    wrong = [index for index in objects if not 0 <= index < object_count]
    if wrong:
        raise BadRecord(f"{field}.{place}: it names object {wrong[0]}, and objects has {object_count}, counted from 0")
    return tuple(objects)
