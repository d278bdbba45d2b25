"""From a model's reply to caption, question and answer, or to why it can't be used. Knows nothing of who asked."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, ValidationError

from neuraltuning.data.sample import OBJECT_TAG
from neuraltuning.mmud.language import other_language
from neuraltuning.mmud.meaning import is_refusal
from neuraltuning.mmud.records import TAG, Reason

_FENCED = re.compile(r"```(?:json)?\s*(.*?)\s*```", re.DOTALL | re.IGNORECASE)


class Texts(BaseModel):
    """The JSON object that is asked for."""

    model_config = ConfigDict(extra="forbid", strict=True, str_strip_whitespace=True)

    caption: str
    question: str
    answer: str


@dataclass(frozen=True)
class Unusable:
    """Why a reply can't be used; as in `records.Failure`."""

    reason: Reason
    detail: str


def read_reply(text: str, ended: str, language: str) -> Texts | Unusable:
    """Reads a reply: the JSON object alone, or in a code fence.

    Args:
        text: the reply.
        ended: why it ended: "stop", "length", "content_filter", "refusal", ...
        language: ISO 639-1 code of the language that it must be in.
    """
    if ended in ("refusal", "content_filter"):
        return Unusable("refusal", f"the server marks it with {ended!r}")
    if ended == "length":
        return Unusable("cut_off", "it was longer than --max-tokens")
    if not text.strip():
        return Unusable("empty", "there is no text")
    fenced = _FENCED.fullmatch(text.strip())
    try:
        texts = Texts.model_validate_json(fenced[1] if fenced else text)
    except ValidationError as error:
        if is_refusal(text):
            return Unusable("refusal", "it says so")
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return Unusable("format", f"{place}: {first['msg'].lower()}" if place else first["msg"].lower())
    for name, value in texts:
        if not value:
            return Unusable("empty", f"there is no {name}")
        if is_refusal(value):
            return Unusable("refusal", f"the {name} says so")
        if OBJECT_TAG in value or TAG.search(value):
            return Unusable("format", f"the {name} holds a tag")
        if (found := other_language(value, language)) is not None:
            return Unusable("language", f"the {name} is in {found!r}")
    return texts
