"""What the steps write into the working folder, and tags in an answer. Knows nothing of files or models."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict

from neuraltuning.data.sample import OBJECT_TAG

TAG = re.compile(r"<OBJ-(\d{1,3})>")
"""Behind a mention: the number of the object that it means, from 1 on, in the order of the sample's objects."""


class Record(BaseModel):
    """A line of a journal.

    Attributes:
        id: of the item: the split and the sample's id, "train/scenes-train-000012".
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str


class ModelReply(Record):
    """What a model was asked and what it cost.

    Attributes:
        model: the name that its server calls it by.
        prompt: name and digest of the prompt's file.
        input_tokens, output_tokens: as its server counted them, or an estimate where it doesn't.
        cost: in the currency of the prices; of a reply that was lost on the way, the most that it can have cost.
    """

    model: str
    prompt: str
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0


class Annotation(ModelReply):
    """`annotate`: what a vision-language model wrote about an image.

    Attributes:
        caption, question, answer: its texts, without tags.
    """

    caption: str
    question: str
    answer: str


Reason = Literal["empty", "format", "refusal", "language", "cut_off", "rejected", "unanswered"]


class Failure(ModelReply):
    """A reply that could not be used, or none.

    Attributes:
        reason: "empty", "format" (not the JSON that was asked for), "refusal", "language", "cut_off" (at the largest
            number of tokens), "rejected" (the server won't take the request), or "unanswered" (time-outs, errors of
            the server, a cut connection).
        detail: what was found.
        reply: the beginning of the reply.
    """

    reason: Reason
    detail: str
    reply: str = ""


class BlindAnswer(ModelReply):
    """`filter`: how a text-only model answers an item's question without the image."""

    answer: str


Rule = Literal["meaningless", "length", "blind"]


class Rejection(BaseModel):
    """Why a rule rejects an item.

    Attributes:
        rule: "meaningless", "length" or "blind" (answerable without the image).
        detail: what was found.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rule: Rule
    detail: str


class Verdict(Record):
    """`filter`: an item is kept if no rule rejects it.

    Attributes:
        rules: that were applied.
        rejections: at most one a rule.
    """

    rules: tuple[Rule, ...] = ()
    rejections: tuple[Rejection, ...] = ()

    @property
    def kept(self) -> bool:
        return not self.rejections


class Tagging(Record):
    """`tag`: the answer with `<OBJ-i>` behind each mention of an annotated object.

    Attributes:
        answer: with its tags.
        unplaced: numbers of the objects (from 1) that no mention was found of.
        unclear: mentions that fit several objects and were left without a tag.
    """

    answer: str
    unplaced: tuple[int, ...] = ()
    unclear: tuple[str, ...] = ()


class Review(Record):
    """`review`: what one person says of an item; the person's last line about it counts.

    Attributes:
        reviewer: the person's name.
        decision: "accept" or "reject".
        answer: the answer with its tags as the person left it.
        reason: of a rejection.
        time: of the decision, ISO 8601 in UTC.
        question: that was reviewed; of an item that was annotated anew with another one the review doesn't count.
            Empty: any.
    """

    reviewer: str
    decision: Literal["accept", "reject"]
    answer: str
    reason: str = ""
    time: str = ""
    question: str = ""


def untag(answer: str) -> tuple[str, tuple[int, ...]]:
    """An answer as samples hold it.

    Returns:
        The text with `<OBJ>` in the place of each `<OBJ-i>`, and the objects' places (from 0), one for each.
    """
    return TAG.sub(OBJECT_TAG, answer), tuple(int(number) - 1 for number in TAG.findall(answer))
