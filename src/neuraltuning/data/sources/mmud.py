"""MMUD as its makers published it (journal paper, section 4): a pickle a split, a list of records of twelve fields.

Tags stay where they stand in the answer: `<LCL-2>` (in the paper `<OBJ-2>`) becomes `<OBJ>` and points to the second
object, as often as it occurs.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from neuraltuning.data.sample import OBJECT_TAG, ObjectAnnotation, Phrase, QuestionAnswer, Sample
from neuraltuning.data.sources.base import BadRecord, Entry, Split, object_mask, read_picture
from neuraltuning.data.unpickle import load_plain_pickle
from neuraltuning.errors import InputError

FIELDS = (
    *("image path", "caption", "enriched text", "object descriptions", "masks", "boxes", "height", "width"),
    *("category ids", "category names", "caption length", "text length"),
)
PUBLISHED = {"train": 33_682, "validation": 1_404, "test": 1_403}
SPLITS = {"val": "validation", "valid": "validation"}
LICENSE = "LicenseRef-Flickr"

_TAG = re.compile(r"\s*<(?:LCL|OBJ)-(\d{1,3})>")
_MARKS = re.compile(r"##\s*(?:Question|Answer)\s*:|<GLB>", re.IGNORECASE)
_SEPARATOR = "<SEP>"


def read_mmud(folder: Path, images: Path) -> dict[str, Split]:
    """The splits of MMUD.

    Args:
        folder: with a pickle a split, whose name ends in the split's: `mmud_train.pkl`.
        images: with the pictures, as the records name them.

    Raises:
        InputError: there is no pickle of a split, or one isn't a list of records of twelve fields.
    """
    splits = {}
    for path in sorted(p for p in folder.iterdir() if p.suffix in (".pkl", ".p", ".pickle")):
        own = re.split(r"[^a-z]+", path.stem.lower())[-1]
        split = SPLITS.get(own, own)
        if split not in PUBLISHED:
            raise InputError(f"{path}: its name doesn't end in a split's ({', '.join(PUBLISHED)}, val); rename it.")
        records = load_plain_pickle(path)
        if not isinstance(records, (list, tuple)):
            raise InputError(f"{path} holds no list of records.")
        for number, record in enumerate(records):
            if not isinstance(record, (list, tuple)) or len(record) != len(FIELDS):
                raise InputError(f"{path}, record {number}: not the {len(FIELDS)} fields of MMUD's records.")
        entries = [
            Entry(f"record {number}", lambda s=split, n=number, r=record: _read(s, n, r, images))  # type: ignore[misc]
            for number, record in enumerate(records)
        ]
        splits[split] = Split(entries, {"images": len(entries)}, {"images": PUBLISHED[split]}, path.name)
    if not splits:
        raise InputError(f"{folder} holds no pickle (.pkl, .p, .pickle) of MMUD.")
    return splits


def _read(split: str, number: int, record: Any, images: Path) -> tuple[Sample, bytes]:
    fields = dict(zip(FIELDS, record, strict=True))
    _require(fields, {"image path": str, "caption": str, "enriched text": str, "height": int, "width": int})
    _require(fields, dict.fromkeys(("object descriptions", "masks", "category names"), (list, tuple)))
    picture, data = read_picture(images, fields["image path"], (fields["height"], fields["width"]))
    parts = [fields[name] for name in ("object descriptions", "masks", "category names")]
    if len({len(part) for part in parts}) != 1:
        raise BadRecord(f"it has {len(parts[0])} descriptions, {len(parts[1])} masks and {len(parts[2])} categories")
    size = (fields["height"], fields["width"])
    given = enumerate(zip(*parts, strict=True), start=1)
    objects = tuple(_object(place, texts, mask, category, size) for place, (texts, mask, category) in given)
    sample = Sample(
        id=f"mmud-{split}-{number:06d}",
        image=picture,
        objects=objects,
        captions=(" ".join(fields["caption"].split()),),
        reasoning=(question_answer(fields["enriched text"], len(objects)),),
        source="mmud",
        license=LICENSE,
    )
    return sample, data


def question_answer(text: str, object_count: int) -> QuestionAnswer:
    """The question and the answer in an enriched text, `##Question: ... ##Answer: <SEP> ... <LCL-1> ...`.

    Args:
        text: the field.
        object_count: how many objects its tags may point to, from 1 on.

    Raises:
        BadRecord: there is no one separator, a part is empty, or a tag points to no object.
    """
    question, separator, answer = text.partition(_SEPARATOR)
    if not separator or _SEPARATOR in answer:
        raise BadRecord(
            f"its text has {text.count(_SEPARATOR)} {_SEPARATOR} between question and answer instead of one"
        )
    question, answer = (" ".join(_MARKS.sub(" ", part).split()) for part in (question, answer))
    if not question or not answer:
        raise BadRecord(f"its {'answer' if question else 'question'} is empty")
    if _TAG.search(question):
        raise BadRecord("its question has a tag")
    numbers = [int(found) for found in _TAG.findall(answer)]
    wrong = [number for number in numbers if not 1 <= number <= object_count]
    if wrong:
        raise BadRecord(f"a tag of its answer points to object {wrong[0]} of {object_count}")
    answer = _TAG.sub(f" {OBJECT_TAG}", answer).strip()
    return QuestionAnswer(question, answer, "knowledge", tuple(number - 1 for number in numbers))


def _object(
    number: int, descriptions: Any, segmentation: Any, category: Any, size: tuple[int, int]
) -> ObjectAnnotation:
    texts = [descriptions] if isinstance(descriptions, str) else descriptions
    if not isinstance(texts, (list, tuple)) or not all(isinstance(text, str) for text in texts):
        raise BadRecord(f"the descriptions of object {number} are no texts")
    if not isinstance(category, str):
        raise BadRecord(f"the category of object {number} is no text")
    try:
        mask, box = object_mask(segmentation, size)
    except BadRecord as error:
        raise BadRecord(f"object {number}: {error}") from error
    phrases = tuple(Phrase(" ".join(text.split()), "") for text in texts if text.strip())
    return ObjectAnnotation(category, "", mask, box, phrases)


def _require(fields: dict[str, Any], kinds: dict[str, Any]) -> None:
    for name, kind in kinds.items():
        if not isinstance(fields[name], kind) or isinstance(fields[name], bool):
            raise BadRecord(f"its field {name!r} holds {type(fields[name]).__name__}")
