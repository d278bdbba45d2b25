"""Conversations as LLaVA's (Liu et al. 2023): a JSON file a split, a list of records with an image and turns about it.

    [{"id": "1", "image": "a.jpg", "conversations": [{"from": "human", "value": "<image>\\nWhat is this?"},
                                                     {"from": "gpt", "value": "A cup."}]}]

Each question with its answer stands for itself: what was said before it isn't kept.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from neuraltuning.data.sample import OBJECT_TAG, QuestionAnswer, Sample
from neuraltuning.data.sources.base import BadRecord, Entry, Split, parse, read_json, read_picture
from neuraltuning.errors import InputError

IMAGE_TOKEN = "<image>"
SPEAKERS = ("human", "gpt")


class Turn(BaseModel):
    speaker: str = Field(alias="from")
    value: str


class Record(BaseModel):
    model_config = ConfigDict(coerce_numbers_to_str=True)

    id: str = ""
    image: str | list[str] | None = None
    conversations: list[Turn]


def read_llava(folder: Path, images: Path) -> dict[str, Split]:
    """The splits of a folder of conversations.

    Args:
        folder: with `train.json`, `validation.json`, ...
        images: with the pictures, as the records name them.

    Raises:
        InputError: there is no JSON file, or one is no list of conversations.
    """
    splits = {}
    for path in sorted(folder.glob("*.json")):
        records = parse(Record, read_json(path), path, "record")
        entries = [
            Entry(f"record {number} ({record.id or 'no id'})", partial(_read, path.stem, number, record, images))
            for number, record in enumerate(records)
        ]
        questions = sum(len(record.conversations) // 2 for record in records)
        splits[path.stem] = Split(entries, {"records": len(records), "questions": questions}, file=path.name)
    if not splits:
        raise InputError(f"{folder} holds no JSON file of conversations (train.json, validation.json, ...).")
    return splits


def _read(split: str, number: int, record: Record, images: Path) -> tuple[Sample, bytes]:
    if not isinstance(record.image, str):
        raise BadRecord("it has no image" if not record.image else f"it has {len(record.image)} images")
    questions = tuple(_question_answer(*pair) for pair in _pairs(record.conversations))
    picture, data = read_picture(images, record.image)
    return Sample(f"llava-{split}-{number:06d}", picture, questions=questions, source="llava"), data


def _pairs(turns: list[Turn]) -> list[tuple[str, str]]:
    """(Question, answer) of a conversation.

    Raises:
        BadRecord: question and answer don't take turns, or one is empty.
    """
    for place, turn in enumerate(turns):
        wanted = SPEAKERS[place % 2]
        if turn.speaker != wanted:
            raise BadRecord(f"conversations.{place}: it is from {turn.speaker!r} instead of {wanted!r}")
    if not turns or len(turns) % 2:
        raise BadRecord(f"it has {len(turns)} turns instead of an answer to each question")
    texts = [turn.value.replace(IMAGE_TOKEN, " ").strip() for turn in turns]
    if "" in texts:
        raise BadRecord(f"conversations.{texts.index('')}: it is empty")
    return list(zip(texts[::2], texts[1::2], strict=True))


def _question_answer(question: str, answer: str) -> QuestionAnswer:
    if OBJECT_TAG in answer:
        raise BadRecord(f"an answer holds {OBJECT_TAG}, which stands for a mask, and the format has none")
    return QuestionAnswer(question, answer, "")
