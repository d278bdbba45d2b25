"""What `/v1/chat/completions` takes and gives: OpenAI's fields, and `mask_png`, `objects` and `images`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from neuraltuning.serving.api.fields import (
    DrawnPicture,
    FoundObject,
    Ignored,
    MaskPng,
    Nothing,
    Off,
    RequestBody,
    Seed,
    Usage,
    Whole,
)
from neuraltuning.serving.api.limits import MAX_MESSAGES, MAX_PARTS, MAX_STOPS

FinishReason = Literal["stop", "length"]


def _kind(value: Any) -> str:
    return "one text" if isinstance(value, str) else "list of texts"


def _type(value: Any) -> str | None:
    found = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return f"{found} part" if found in ("text", "image_url") else None


def _role(value: Any) -> str | None:
    found = value.get("role") if isinstance(value, dict) else getattr(value, "role", None)
    named = isinstance(found, str) and found in ("system", "developer", "user", "assistant")
    return f"{found} message" if named else None


class PictureAddress(RequestBody):
    """Where a picture is: in `url` itself, as a data URL, or at an allowed address."""

    url: str
    detail: Ignored = None


class PicturePart(RequestBody):
    """A picture in a user's message."""

    type: Literal["image_url"]
    image_url: PictureAddress


class TextPart(RequestBody):
    """Words in a message."""

    type: Literal["text"]
    text: str


Part = Annotated[
    Annotated[TextPart, Tag("text part")] | Annotated[PicturePart, Tag("image_url part")],
    Discriminator(
        _type, custom_error_type="part", custom_error_message="Each part is of type text or image_url, and has a type"
    ),
]
Texts = Annotated[
    Annotated[str, Tag("one text")]
    | Annotated[list[TextPart], Tag("list of texts"), Field(min_length=1, max_length=MAX_PARTS)],
    Discriminator(_kind),
]
Content = Annotated[
    Annotated[str, Tag("one text")]
    | Annotated[list[Part], Tag("list of texts"), Field(min_length=1, max_length=MAX_PARTS)],
    Discriminator(_kind),
]


Stopper = Annotated[str, Field(min_length=1)]
Stop = Annotated[
    Annotated[Stopper, Tag("one text")] | Annotated[list[Stopper], Tag("list of texts"), Field(max_length=MAX_STOPS)],
    Discriminator(_kind),
]


class SystemMessage(RequestBody):
    """What is said before the next user's text, as a part of it."""

    role: Literal["system", "developer"]
    content: Texts
    name: Ignored = None


class UserMessage(RequestBody):
    """A user's turn."""

    role: Literal["user"]
    content: Content
    name: Ignored = None


class AssistantMessage(RequestBody):
    """An earlier reply; what it has beside its text is not read."""

    model_config = ConfigDict(extra="ignore")

    role: Literal["assistant"]
    content: Texts
    tool_calls: Nothing = None


Message = Annotated[
    Annotated[SystemMessage, Tag("system message")]
    | Annotated[SystemMessage, Tag("developer message")]
    | Annotated[UserMessage, Tag("user message")]
    | Annotated[AssistantMessage, Tag("assistant message")],
    Discriminator(
        _role,
        custom_error_type="role",
        custom_error_message="Each message is an object whose role is system, developer, user or assistant",
    ),
]


class StreamOptions(RequestBody):
    """How a stream ends."""

    include_usage: bool = False
    include_obfuscation: Ignored = None


class TextFormat(RequestBody):
    """The only form of a reply."""

    type: Literal["text"]


class ChatRequest(RequestBody):
    """A conversation, and how to go on with it."""

    model: str
    messages: Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES)]
    max_completion_tokens: Annotated[Whole, Field(ge=1)] | None = None
    max_tokens: Annotated[Whole, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2, description="0, by default, takes the likeliest token.")] | None = (
        None
    )
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    seed: Seed | None = None
    stop: Stop | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    mask_png: MaskPng = False

    n: Annotated[Whole, Field(ge=1, le=1)] | None = None
    frequency_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    presence_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    logit_bias: Annotated[dict[str, Any], Field(max_length=0)] | None = None
    logprobs: Off = None
    top_logprobs: Annotated[Whole, Field(ge=0, le=0)] | None = None
    modalities: list[Literal["text"]] | None = None
    response_format: TextFormat | None = None
    tools: Nothing = None
    tool_choice: Literal["none", "auto"] | None = None
    functions: Nothing = None
    function_call: Literal["none", "auto"] | None = None
    audio: None = None
    prediction: None = None
    web_search_options: None = None

    metadata: Ignored = None
    parallel_tool_calls: Ignored = None
    prompt_cache_key: Ignored = None
    prompt_cache_retention: Ignored = None
    reasoning_effort: Ignored = None
    safety_identifier: Ignored = None
    service_tier: Ignored = None
    store: Ignored = None
    user: Ignored = None
    verbosity: Ignored = None


class ReplyMessage(BaseModel):
    """A reply."""

    role: Literal["assistant"]
    content: str
    refusal: None
    objects: list[FoundObject]
    images: list[DrawnPicture]


class Choice(BaseModel):
    """The reply and why it ended."""

    index: int
    message: ReplyMessage
    logprobs: None
    finish_reason: FinishReason


class ChatCompletion(BaseModel):
    """A reply at once."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: Usage


class Delta(BaseModel):
    """What a chunk adds to the reply."""

    role: Literal["assistant"] = "assistant"
    content: str = ""
    objects: list[FoundObject] = []
    images: list[DrawnPicture] = []


class ChunkChoice(BaseModel):
    """A delta; in the reply's last one, why it ended."""

    index: int
    delta: Delta
    logprobs: None
    finish_reason: FinishReason | None


class ChatChunk(BaseModel):
    """An event of a streamed reply."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | None = None
