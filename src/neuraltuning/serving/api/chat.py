"""`POST /v1/chat/completions`: OpenAI's chat, at once or streamed, with masks and pictures beside the text."""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import anyio
from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from neuraltuning.serving.api.chat_types import (
    ChatChunk,
    ChatCompletion,
    ChatRequest,
    Choice,
    ChunkChoice,
    Delta,
    FinishReason,
    ReplyMessage,
)
from neuraltuning.serving.api.conversation import read_conversation
from neuraltuning.serving.api.errors import api_error
from neuraltuning.serving.api.rendering import drawn_picture, drawn_pictures, found_object, found_objects, usage
from neuraltuning.serving.api.service import Replying, Service
from neuraltuning.serving.engine_types import ChatQuery, Event, Finished, MaskFound, PictureDrawn, TextPiece

logger = logging.getLogger(__name__)

SLOW_READER_SECONDS = 10.0
"""What a client has beyond the time limit to read the rest of a stream."""


async def answer_chat(service: Service, request: Request, body: ChatRequest) -> Response:
    """Answers a conversation.

    Raises:
        ApiError, InputError, QueueFull, EngineClosed: it can't be answered.
    """
    replying = await service.ask(request, await _query(service, body))
    head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": body.model}
    if body.stream:
        first = await replying.next()  # what fails at once still gets a status of its own
        events = _events(replying, first, head, body, request.state.request_id)
        return _EventStream(events, service.limits.seconds + SLOW_READER_SECONDS)
    finished = await replying.finished()
    completion = await asyncio.to_thread(_completion, finished, head, body.mask_png)
    return Response(completion.model_dump_json(exclude_unset=True), media_type="application/json")


async def _query(service: Service, body: ChatRequest) -> ChatQuery:
    service.card(body.model)
    conversation = read_conversation(body.messages)
    longest = "max_tokens" if body.max_completion_tokens is None else "max_completion_tokens"
    max_new_tokens = service.reply_length(getattr(body, longest), longest)
    picture = conversation.picture
    return ChatQuery(
        model=body.model,
        text=conversation.text,
        image=None if picture is None else await service.pictures.open(picture, conversation.picture_param),
        earlier=conversation.earlier,
        seed=body.seed or 0,
        temperature=0.0 if body.top_p == 0 else body.temperature or 0.0,  # no share but that of the likeliest
        top_p=body.top_p or 1.0,
        max_new_tokens=max_new_tokens,
        stop=(body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ()),
    )


def _completion(finished: Finished, head: dict[str, Any], png: bool) -> ChatCompletion:
    message = ReplyMessage(
        role="assistant",
        content=finished.reply.text,
        refusal=None,
        objects=found_objects(finished.reply, png=png),
        images=drawn_pictures(finished.reply),
    )
    choice = Choice(index=0, message=message, logprobs=None, finish_reason=finished.finish_reason)
    return ChatCompletion(**head, object="chat.completion", choices=[choice], usage=usage(finished))


class _EventStream(StreamingResponse):
    """Server-sent events; one whose client reads too slowly is broken off."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[str], seconds: float) -> None:
        super().__init__(events, headers={"X-Accel-Buffering": "no"})  # nginx would keep events back
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with anyio.move_on_after(self._seconds):
            await super().__call__(scope, receive, send)


async def _events(
    replying: Replying, event: Event, head: dict[str, Any], body: ChatRequest, request_id: str
) -> AsyncIterator[str]:
    """The reply as server-sent events, from its first event in the engine on."""
    with_usage = body.stream_options is not None and body.stream_options.include_usage
    chunk = ChatChunk(**head, object="chat.completion.chunk", choices=[])
    if with_usage:
        chunk.usage = None  # set, and so written

    def adding(delta: Delta, reason: FinishReason | None = None) -> str:
        choice = ChunkChoice(index=0, delta=delta, logprobs=None, finish_reason=reason)
        return _written(chunk.model_copy(update={"choices": [choice]}))

    try:
        yield adding(Delta(role="assistant", content=""))
        while not isinstance(event, Finished):
            yield adding(await _delta(event, body.mask_png))
            event = await replying.next()
        yield adding(Delta(), event.finish_reason)
        if with_usage:
            yield _written(chunk.model_copy(update={"usage": usage(event)}))
        yield "data: [DONE]\n\n"
    except Exception as error:
        found = api_error(error)
        if found.status_code == 500:
            logger.exception("Request %s failed in its stream.", request_id)
        yield f"data: {json.dumps(found.body)}\n\n"


async def _delta(event: Event, png: bool) -> Delta:
    if isinstance(event, TextPiece):
        return Delta(content=event.text)
    if isinstance(event, MaskFound):
        return Delta(objects=[await asyncio.to_thread(found_object, event, png=png)])
    assert isinstance(event, PictureDrawn), event
    return Delta(images=[await asyncio.to_thread(drawn_picture, event)])


def _written(chunk: ChatChunk) -> str:
    return f"data: {chunk.model_dump_json(exclude_unset=True)}\n\n"
