"""VQAv2 (Goyal et al. 2017): a file of questions and one of annotations a split, ten answers a question.

The test questions are published without answers, so they are no split here.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from neuraltuning.data.sample import QuestionAnswer, Sample
from neuraltuning.data.sources.base import Entry, Split, parse, read_json, read_picture
from neuraltuning.errors import InputError

SPLITS = {"train": "train2014", "validation": "val2014"}
"""Split -> what COCO calls it, in the names of files, folders and pictures."""
PUBLISHED = {"train": 443_757, "validation": 214_354}
LICENSE = "LicenseRef-Flickr"


class Question(BaseModel):
    question_id: int
    image_id: int
    question: str


class Answer(BaseModel):
    answer: str


class Annotation(BaseModel):
    question_id: int
    image_id: int
    multiple_choice_answer: str
    answer_type: str = ""
    answers: list[Answer]


def read_vqav2(folder: Path, images: Path) -> dict[str, Split]:
    """The splits of VQAv2 whose two files are there.

    Args:
        folder: with `v2_OpenEnded_mscoco_train2014_questions.json`, `v2_mscoco_train2014_annotations.json`, ...
        images: with the folders train2014 and val2014.

    Raises:
        InputError: no split is there, a file is damaged, or the two of a split don't belong together.
    """
    splits = {}
    for split, coco in SPLITS.items():
        asked_path = folder / f"v2_OpenEnded_mscoco_{coco}_questions.json"
        answered_path = folder / f"v2_mscoco_{coco}_annotations.json"
        if not asked_path.is_file() and not answered_path.is_file():
            continue
        asked = parse(Question, _members(asked_path, "questions"), asked_path, "question")
        answered = parse(Annotation, _members(answered_path, "annotations"), answered_path, "annotation")
        annotations = {annotation.question_id: annotation for annotation in answered}
        by_image: dict[int, list[QuestionAnswer]] = defaultdict(list)
        for question in asked:
            annotation = annotations.get(question.question_id)
            if annotation is None or annotation.image_id != question.image_id:
                raise InputError(
                    f"{asked_path} and {answered_path} don't belong together: question {question.question_id} about "
                    f"image {question.image_id} has no annotation in the second."
                )
            by_image[question.image_id].append(_question_answer(question, annotation))
        entries = [
            Entry(f"image {number}", lambda s=split, n=number, q=tuple(q): _read(s, n, q, images))  # type: ignore[misc]
            for number, q in sorted(by_image.items())
        ]
        counts = {"images": len(entries), "questions": len(asked)}
        splits[split] = Split(entries, counts, {"questions": PUBLISHED[split]}, asked_path.name)
    if not splits:
        raise InputError(f"{folder} holds no v2_OpenEnded_mscoco_*_questions.json of VQAv2 with its annotations.")
    return splits


def _members(path: Path, name: str) -> Any:
    value = read_json(path)
    if not isinstance(value, dict):
        raise InputError(f"{path} is not a file of VQAv2: it holds no object with {name}.")
    return value.get(name)


def _question_answer(question: Question, annotation: Annotation) -> QuestionAnswer:
    annotated = tuple(answer.answer for answer in annotation.answers)
    return QuestionAnswer(
        question.question, annotation.multiple_choice_answer, annotation.answer_type, annotated=annotated
    )


def _read(split: str, number: int, questions: tuple[QuestionAnswer, ...], images: Path) -> tuple[Sample, bytes]:
    coco = SPLITS[split]
    picture, data = read_picture(images, f"{coco}/COCO_{coco}_{number:012d}.jpg")
    return Sample(f"vqav2-{split}-{number}", picture, questions=questions, source="vqav2", license=LICENSE), data
