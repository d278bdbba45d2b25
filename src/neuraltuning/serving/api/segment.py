"""`POST /v1/segment`: masks of one picture, for callers who want nothing else."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from fastapi import Request, Response
from pydantic import BaseModel, Field

from neuraltuning.serving.api.fields import FoundObject, MaskPng, RequestBody, Usage, Whole
from neuraltuning.serving.api.rendering import found_objects, usage
from neuraltuning.serving.api.service import Service
from neuraltuning.serving.engine_types import ChatQuery, Finished


class SegmentRequest(RequestBody):
    """A picture and what to look for in it, in the words of a chat: "Please segment the cat."."""

    model: str
    image: Annotated[str, Field(description="A data URL, or an allowed address.")]
    text: str
    max_tokens: Annotated[Whole, Field(ge=1)] | None = None
    mask_png: MaskPng = False


class Segmentation(BaseModel):
    """The masks, in the order of the text's `<OBJ>`; `width` and `height` are the upright picture's."""

    object: Literal["segmentation"]
    model: str
    text: str
    width: int
    height: int
    objects: list[FoundObject]
    usage: Usage


async def answer_segment(service: Service, request: Request, body: SegmentRequest) -> Response:
    """Answers with masks.

    Raises:
        ApiError, InputError, QueueFull, EngineClosed: it can't be answered.
    """
    service.card(body.model, "<OBJ>")
    longest = service.reply_length(body.max_tokens, "max_tokens")
    image = await service.pictures.open(body.image, "image")
    query = ChatQuery(body.model, body.text, image, max_new_tokens=longest)
    finished = await (await service.ask(request, query)).finished()
    found = await asyncio.to_thread(_segmentation, body, image.size, finished)
    return Response(found.model_dump_json(exclude_unset=True), media_type="application/json")


def _segmentation(body: SegmentRequest, size: tuple[int, int], finished: Finished) -> Segmentation:
    return Segmentation(
        object="segmentation",
        model=body.model,
        text=finished.reply.text,
        width=size[0],
        height=size[1],
        objects=found_objects(finished.reply, png=body.mask_png),
        usage=usage(finished),
    )
