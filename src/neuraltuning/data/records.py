"""A `Sample` as plain values, for files, and back: masks become COCO run lengths. Knows nothing of files or images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask

from neuraltuning.data.sample import PHRASE_KINDS, Expression, ObjectAnnotation, Phrase, QuestionAnswer, Sample


def to_record(sample: Sample) -> dict[str, Any]:
    """The sample without its image as plain lists and dicts."""
    return {
        "id": sample.id,
        "objects": [
            {
                "category": item.category,
                "supercategory": item.supercategory,
                "mask": encode_mask(item.mask),
                "box": list(item.box),
                "phrases": [{"text": phrase.text, "kind": phrase.kind} for phrase in item.phrases],
            }
            for item in sample.objects
        ],
        "captions": list(sample.captions),
        "reasoning": [_question_record(question) for question in sample.reasoning],
        "questions": [_question_record(question) for question in sample.questions],
        "source": sample.source,
        "license": sample.license,
        "ignored": None if sample.ignored is None else encode_mask(sample.ignored),
        "expressions": [{"text": item.text, "objects": list(item.objects)} for item in sample.expressions],
    }


def _question_record(question: QuestionAnswer) -> dict[str, Any]:
    return {
        "question": question.question,
        "answer": question.answer,
        "kind": question.kind,
        "objects": list(question.objects),
        "annotated": list(question.annotated),
    }


def encode_mask(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Returns the mask as a compressed COCO RLE with its counts as text."""
    encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": [int(side) for side in encoded["size"]], "counts": encoded["counts"].decode("ascii")}


def from_record(record: Mapping[str, Any], image: Image.Image) -> Sample:
    """The sample that `to_record` made a record of.

    Args:
        record: its values.
        image: its image, RGB.

    Raises:
        KeyError: a field is missing.
        ValueError, TypeError: a field holds something else than it should; the message says what.
    """
    return Sample(
        id=_text(record, "id"),
        image=image,
        objects=tuple(_object(item, (image.height, image.width)) for item in record["objects"]),
        captions=_texts(record, "captions"),
        reasoning=tuple(_question(item, len(record["objects"])) for item in record["reasoning"]),
        questions=tuple(_question(item, len(record["objects"])) for item in record["questions"]),
        source=_text(record, "source"),
        license=_text(record, "license"),
        ignored=_mask(record["ignored"], (image.height, image.width)) if record.get("ignored") else None,
        # data sets that were written before there were expressions have none
        expressions=tuple(_expression(item, len(record["objects"])) for item in record.get("expressions") or ()),
    )


def _object(record: dict[str, Any], size: tuple[int, int]) -> ObjectAnnotation:
    kinds = {phrase["kind"] for phrase in record["phrases"]} - {""}
    if not kinds.issubset(PHRASE_KINDS):
        raise ValueError(f"unknown kind of phrase {sorted(kinds.difference(PHRASE_KINDS))[0]!r}")
    x, y, width, height = (float(value) for value in record["box"])
    return ObjectAnnotation(
        category=_text(record, "category"),
        supercategory=_text(record, "supercategory"),
        mask=_mask(record["mask"], size),
        box=(x, y, width, height),
        phrases=tuple(Phrase(_text(phrase, "text"), phrase["kind"]) for phrase in record["phrases"]),
    )


def _text(record: Mapping[str, Any], field: str) -> str:
    value = record[field]
    if not isinstance(value, str):
        raise ValueError(f"its {field} is no text")
    return value


def _texts(record: Mapping[str, Any], field: str) -> tuple[str, ...]:
    values = record[field]
    if not isinstance(values, (list, tuple)) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"its {field} are no list of texts")
    return tuple(values)


class MaskSizeError(ValueError):
    """A mask has another size than its image."""


def _mask(code: Mapping[str, Any], size: tuple[int, int]) -> NDArray[np.bool_]:
    if tuple(code["size"]) != size:
        raise MaskSizeError(f"the mask's size {code['size']} is not the image's, {list(size)}")
    return decode_mask(code["counts"], size)


def decode_mask(counts: str, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Decodes a compressed COCO RLE; in Python, because the C decoder writes out of bounds on a damaged one.

    Args:
        counts: the runs as text.
        size: height and width.

    Raises:
        ValueError: the runs don't add up to the number of pixels.
    """
    runs: list[int] = []
    value = shift = 0
    for character in counts:
        # Six bits a character from "0": five of the number, one that says whether more follow (COCO's maskApi.c).
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"the mask's counts hold the character {character!r}")
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        # From the third run on, the difference to the run before the last is stored.
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    height, width = size
    if shift or any(run < 0 for run in runs) or sum(runs) != height * width:
        raise ValueError(f"the mask's runs add up to {sum(runs)} pixels instead of {height * width}")
    # Runs of 0 and 1 in turn, column by column.
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T.copy()


def _expression(record: dict[str, Any], object_count: int) -> Expression:
    return Expression(_text(record, "text"), _indices("an expression", record["objects"], object_count))


def _question(record: dict[str, Any], object_count: int) -> QuestionAnswer:
    objects = _indices("a question", record["objects"], object_count)
    annotated = _texts(record, "annotated") if record.get("annotated") else ()  # earlier copies of Scenes have none
    question, answer, kind = (_text(record, field) for field in ("question", "answer", "kind"))
    return QuestionAnswer(question, answer, kind, objects, annotated)


def _indices(what: str, values: Any, object_count: int) -> tuple[int, ...]:
    indices = tuple(int(index) for index in values)
    if wrong := [index for index in indices if not 0 <= index < object_count]:
        raise ValueError(f"{what} names object {wrong[0]} of {object_count}")
    return indices
