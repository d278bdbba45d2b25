"""`POST /demo/look`: which neurons were active for a reply, and where its `<OBJ>` looked in the picture.

`neuraltuning.analysis.inspection` finds it out; here it becomes JSON. Knows nothing of pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from neuraltuning.errors import InputError
from neuraltuning.serving.api.chat_types import Message
from neuraltuning.serving.api.conversation import read_conversation
from neuraltuning.serving.api.errors import ApiError
from neuraltuning.serving.api.fields import RequestBody
from neuraltuning.serving.api.limits import MAX_MESSAGES
from neuraltuning.serving.api.service import Service

if TYPE_CHECKING:
    from PIL import Image

    from neuraltuning.analysis.inspection import Look
    from neuraltuning.model import MultitaskModel

MAX_CHARACTERS = 20_000
"""Of a conversation that is looked into."""
MAX_POSITIONS = 1024
"""Of one, its image's among them: attention weights take memory by their square."""


class LookRequest(RequestBody):
    """A conversation as `/v1/chat/completions` takes it, and the reply that came."""

    model: str
    messages: Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES)]
    reply: Annotated[str, Field(min_length=1, max_length=MAX_CHARACTERS)]


class ActiveLayer(BaseModel):
    """A decoder layer: the share of the reply's tokens at which each neuron was active, 0 to 1."""

    layer: int
    active: list[float]


class ObjectLook(BaseModel):
    """Where an `<OBJ>` looked.

    Attributes:
        index: of the `<OBJ>` in the reply, from 0.
        patches: rows of the image's patches, the share of its attention that went to each.
        named: rows of the same patches, the share that went to the names behind them that describe each; none where
            no patch is described.
        shares: the share of its attention that went to each part of what was read (`neuraltuning.analysis.inspection`).
    """

    index: int
    patches: list[list[float]]
    named: list[list[float]]
    shares: dict[str, float]


class LookReply(BaseModel):
    """What went on in a reply of so many tokens; `layers` is empty where the tuner has no sparse neurons."""

    tokens: int
    layers: list[ActiveLayer]
    objects: list[ObjectLook]


async def answer_look(service: Service, body: LookRequest) -> LookReply:
    """Looks into a reply, in the engine's thread.

    Raises:
        ApiError, InputError, EngineClosed: it can't be looked into.
    """
    service.card(body.model)
    conversation = read_conversation(body.messages)
    if len(conversation.text) + sum(len(said) for turn in conversation.earlier for said in turn) > MAX_CHARACTERS:
        raise ApiError(400, "The conversation is too long to be looked into; ask in a new one.", param="messages")
    url = conversation.picture
    picture = None if url is None else await service.pictures.open(url, conversation.picture_param)

    def work(model: MultitaskModel) -> LookReply:
        return look_into(model, picture, conversation.earlier, conversation.text, body.reply)

    return await service.run(body.model, work)


def look_into(
    model: MultitaskModel, picture: Image.Image | None, earlier: Sequence[tuple[str, str]], text: str, reply: str
) -> LookReply:
    """Looks into the reply to the last turn of a conversation.

    Raises:
        InputError: it is too long, or can't be looked into.
    """
    from neuraltuning.analysis.inspection import inspect_reply

    said = len(model.format.conversation_ids(earlier, text)) + len(model.format.reply_ids(reply))
    if model.image_length + said > MAX_POSITIONS:
        raise InputError(f"Only conversations of up to {MAX_POSITIONS:,} tokens can be looked into; ask in a new one.")
    found = inspect_reply(model, picture, text, reply, earlier=earlier)
    return LookReply(
        tokens=len(found.tokens),
        layers=[ActiveLayer(layer=layer, active=_rounded(active)) for layer, active in found.active.items()],
        objects=[_object_look(index, look) for index, look in enumerate(found.looks)],
    )


def _object_look(index: int, look: Look) -> ObjectLook:
    return ObjectLook(
        index=index,
        patches=_rounded(look.map),
        named=_rounded(look.described_map) if look.described.any() else [],
        shares={part: round(float(share.mean()), 5) for part, share in look.shares.items()},
    )


def _rounded(values: NDArray[np.float32]) -> list[Any]:
    found: list[Any] = np.round(values.astype(np.float64), 6).tolist()
    return found
