"""`POST /v1/images/generations`: pictures from a description, in OpenAI's form."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import Request, Response
from pydantic import BaseModel, Field

from neuraltuning.serving.api.errors import ApiError
from neuraltuning.serving.api.fields import Ignored, Off, RequestBody, Seed, Whole
from neuraltuning.serving.api.limits import MAX_DRAWINGS
from neuraltuning.serving.api.rendering import png_base64
from neuraltuning.serving.api.service import Service
from neuraltuning.serving.engine_types import ChatQuery, Finished
from neuraltuning.tasks.text_to_image import REQUESTS


class DrawingRequest(RequestBody):
    """A description of a picture."""

    prompt: Annotated[str, Field(min_length=1)]
    model: Annotated[str, Field(description="The first that draws, by default.")] | None = None
    n: Annotated[Whole, Field(ge=1, le=MAX_DRAWINGS)] | None = None
    seed: Annotated[Seed, Field(description="Of the first picture; that of each further one is one more.")] | None = (
        None
    )
    response_format: Literal["b64_json"] | None = None
    size: Literal["auto"] | None = None
    output_format: Literal["png"] | None = None
    quality: Literal["auto", "standard"] | None = None
    background: Literal["auto", "opaque"] | None = None
    stream: Off = None

    moderation: Ignored = None
    safety_identifier: Ignored = None
    user: Ignored = None


class Drawn(BaseModel):
    """A PNG in base64."""

    b64_json: str


class DrawingUsage(BaseModel):
    """Tokens of all replies, by the names of this endpoint."""

    class InputDetails(BaseModel):
        """No picture is read."""

        image_tokens: Literal[0]
        text_tokens: int

    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    total_tokens: int


class Drawings(BaseModel):
    """The pictures in the order of their seeds; `size` is width x height in pixels."""

    created: int
    data: list[Drawn]
    output_format: Literal["png"]
    size: str
    usage: DrawingUsage


async def answer_drawing(service: Service, request: Request, body: DrawingRequest) -> Response:
    """Draws.

    Raises:
        ApiError, InputError, QueueFull, EngineClosed: it can't be drawn.
    """
    service.gate.check()
    model = body.model or next((card.name for card in service.cards.values() if "<GEN>" in card.tokens), None)
    if model is None:
        raise ApiError(400, "No model here draws.", param="model")
    service.card(model, "<GEN>")
    text, first = REQUESTS[0].format(body.prompt), body.seed or 0
    seeds = [(first + number) % 2**63 for number in range(body.n or 1)]
    asked = [await service.ask(request, ChatQuery(model, text, seed=seed)) for seed in seeds]
    replies = [await replying.finished() for replying in asked]
    drawings = await asyncio.to_thread(_drawings, replies)
    return Response(drawings.model_dump_json(), media_type="application/json")


def _drawings(replies: Sequence[Finished]) -> Drawings:
    undrawn = next((finished.reply.text for finished in replies if not finished.reply.images), None)
    if undrawn is not None:
        message = f"prompt: the model drew nothing, but answered {undrawn[:200]!r}; describe a picture."
        raise ApiError(400, message, param="prompt", code="no_picture")
    pictures = [finished.reply.images[0] for finished in replies]
    read = sum(finished.prompt_tokens for finished in replies)
    written = sum(finished.completion_tokens for finished in replies)
    return Drawings(
        created=int(time.time()),
        data=[Drawn(b64_json=png_base64(picture)) for picture in pictures],
        output_format="png",
        size="x".join(map(str, pictures[0].size)),
        usage=DrawingUsage(
            input_tokens=read,
            input_tokens_details=DrawingUsage.InputDetails(image_tokens=0, text_tokens=read),
            output_tokens=written,
            total_tokens=read + written,
        ),
    )
