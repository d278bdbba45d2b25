"""SNLI-VE (Xie et al. 2019): JSON lines, each a sentence about an image of Flickr30k and how it follows from it.

    {"Flickr30K_ID": "4705552913", "sentence2": "Two women are embracing.", "gold_label": "entailment", ...}

becomes a question whose answer is the label, see `QUESTION`.
"""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, model_validator

from neuraltuning.data.sample import QuestionAnswer, Sample
from neuraltuning.data.sources.base import BadRecord, Entry, Split, parse_one, read_picture, text_lines
from neuraltuning.errors import InputError

SPLITS = {"train": "train", "validation": "dev", "test": "test"}
"""Split -> its name in the file's."""
PUBLISHED = {"train": 529_527, "validation": 17_858, "test": 17_901}
LICENSE = "LicenseRef-Flickr"
QUESTION = 'Is the sentence "{}" an entailment of the image, neutral to it, or a contradiction?'

_IMAGE_FIELDS = ("flickr30kid", "flikr30kid")
"""The image's field in lower case and without underscores; files spell it Flickr30K_ID, Flickr30kID, Flikr30kID."""


class Pair(BaseModel):
    flickr30k_id: str
    sentence2: str
    gold_label: Literal["entailment", "neutral", "contradiction"]

    @model_validator(mode="before")
    @classmethod
    def _one_spelling(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        found = [value for key, value in values.items() if key.lower().replace("_", "") in _IMAGE_FIELDS]
        return {**values, "flickr30k_id": str(found[0]).removesuffix(".jpg")} if found else values


def read_snli_ve(folder: Path, images: Path) -> dict[str, Split]:
    """The splits of SNLI-VE whose files are there.

    Args:
        folder: with `snli_ve_train.jsonl`, `snli_ve_dev.jsonl`, `snli_ve_test.jsonl`.
        images: with Flickr30k's pictures, `4705552913.jpg`, ...

    Raises:
        InputError: none of the files is there, or one is damaged.
    """
    splits = {}
    for split, name in SPLITS.items():
        path = folder / f"snli_ve_{name}.jsonl"
        if not path.is_file():
            continue
        by_image: dict[str, list[QuestionAnswer]] = defaultdict(list)
        for number, line in text_lines(path):
            try:
                pair = parse_one(Pair, line)
            except BadRecord as error:
                raise InputError(f"{path}, line {number}, {error}; get a complete copy.") from error
            question = QUESTION.format(" ".join(pair.sentence2.split()))
            by_image[pair.flickr30k_id].append(QuestionAnswer(question, pair.gold_label, ""))
        entries = [
            Entry(f"image {image}", partial(_read, split, image, tuple(questions), images))
            for image, questions in sorted(by_image.items())
        ]
        counts = {"images": len(entries), "pairs": sum(map(len, by_image.values()))}
        splits[split] = Split(entries, counts, {"pairs": PUBLISHED[split]}, path.name)
    if not splits:
        raise InputError(f"{folder} holds none of SNLI-VE's files (snli_ve_train.jsonl, snli_ve_dev.jsonl, ...).")
    return splits


def _read(split: str, image: str, questions: tuple[QuestionAnswer, ...], images: Path) -> tuple[Sample, bytes]:
    picture, data = read_picture(images, f"{image}.jpg")
    return Sample(f"snli-ve-{split}-{image}", picture, questions=questions, source="snli-ve", license=LICENSE), data
