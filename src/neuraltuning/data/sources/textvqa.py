"""TextVQA (Singh et al. 2019): a file of questions with ten answers each a split; its measure is always normalised.

The test questions are published with blank answers, so they are no split here.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import partial
from pathlib import Path

from pydantic import BaseModel

from neuraltuning.data.sample import QuestionAnswer, Sample
from neuraltuning.data.sources.base import BadRecord, Entry, Split, parse, read_json, read_picture
from neuraltuning.errors import InputError

SPLITS = {"train": ("train", "train_images"), "validation": ("val", "train_images"), "test": ("test", "test_images")}
"""Split -> its name in the file's, and the folder of its pictures."""
PUBLISHED = {"train": 34_602, "validation": 5_000, "test": 5_734}
LICENSE = "LicenseRef-OpenImages"


class Question(BaseModel):
    question_id: int
    image_id: str
    question: str
    answers: list[str] = []

    @property
    def answered(self) -> list[str]:
        """The answers that aren't blank."""
        return [answer for answer in self.answers if answer.strip()]


def read_textvqa(folder: Path, images: Path) -> dict[str, Split]:
    """The splits of TextVQA whose file is there and has answers.

    Args:
        folder: with `TextVQA_0.5.1_train.json` and `TextVQA_0.5.1_val.json`.
        images: with the folder train_images, which has the pictures of both.

    Raises:
        InputError: no split with answers is there, or a file is damaged.
    """
    splits = {}
    for split, (name, _) in SPLITS.items():
        path = folder / f"TextVQA_0.5.1_{name}.json"
        if not path.is_file():
            continue
        value = read_json(path)
        if not isinstance(value, dict):
            raise InputError(f"{path} is not a file of TextVQA: it holds no object with data.")
        questions = parse(Question, value.get("data"), path, "question")
        if not any(question.answered for question in questions):
            continue
        by_image: dict[str, list[Question]] = defaultdict(list)
        for question in questions:
            by_image[question.image_id].append(question)
        entries = [
            Entry(f"image {image}", partial(_read, split, image, own, images))
            for image, own in sorted(by_image.items())
        ]
        counts = {"images": len(entries), "questions": len(questions)}
        splits[split] = Split(entries, counts, {"questions": PUBLISHED[split]}, path.name)
    if not splits:
        raise InputError(f"{folder} holds no TextVQA_0.5.1_train.json or TextVQA_0.5.1_val.json with answers.")
    return splits


def _read(split: str, image: str, questions: list[Question], images: Path) -> tuple[Sample, bytes]:
    picture, data = read_picture(images, f"{SPLITS[split][1]}/{image}.jpg")
    answers = tuple(_question_answer(question) for question in questions)
    return Sample(f"textvqa-{split}-{image}", picture, questions=answers, source="textvqa", license=LICENSE), data


def _question_answer(question: Question) -> QuestionAnswer:
    if not question.answered:
        raise BadRecord(f"question {question.question_id} has no answer")
    usual = Counter(question.answered).most_common(1)[0][0]
    return QuestionAnswer(question.question, usual, "", annotated=tuple(question.answered))
