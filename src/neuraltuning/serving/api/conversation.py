"""From a chat's messages to what the engine takes: earlier turns, the last text, one picture.

The models were tuned on single requests, without a system's words. Those are put before the next user's text, as a part
of it, so that clients that always send some are served.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from neuraltuning.serving.api.chat_types import AssistantMessage, Message, PicturePart, TextPart, UserMessage
from neuraltuning.serving.api.errors import ApiError


@dataclass(frozen=True)
class Conversation:
    """What was said.

    Attributes:
        earlier: (prompt, reply) of each earlier turn.
        text: the last turn's.
        picture: the picture's URL, or None.
        picture_param: where it stands in the request.
    """

    earlier: tuple[tuple[str, str], ...]
    text: str
    picture: str | None
    picture_param: str


def read_conversation(messages: Sequence[Message]) -> Conversation:
    """Sorts messages.

    Raises:
        ApiError: 400: a user doesn't have the last word, a reply answers nobody, or there are several pictures.
    """
    earlier: list[tuple[str, str]] = []
    said: list[str] = []
    asked = False
    pictures: dict[str, str] = {}
    for number, message in enumerate(messages):
        param = f"messages.{number}"
        parts = [] if isinstance(message.content, str) else message.content
        text = message.content if isinstance(message.content, str) else _text(parts)
        if isinstance(message, AssistantMessage):
            if not asked:
                raise ApiError(400, f"{param}: an assistant's message follows a user's; leave it out.", param=param)
            earlier.append(("\n".join(said), text))
            said, asked = [], False
            continue
        asked = asked or isinstance(message, UserMessage)
        said += [text] if text else []
        for place, part in enumerate(parts):
            if isinstance(part, PicturePart):
                pictures.setdefault(part.image_url.url, f"{param}.content.{place}.image_url.url")
    if not asked:
        raise ApiError(400, "messages: the last one is a user's, who says what to do.", param="messages")
    if len(pictures) > 1:
        second = list(pictures.values())[1]
        message_ = f"{second}: a conversation is about one picture, this is another one; begin a new conversation."
        raise ApiError(400, message_, param=second)
    url, param = next(iter(pictures.items()), (None, ""))
    return Conversation(tuple(earlier), "\n".join(said), url, param)


def _text(parts: Sequence[TextPart | PicturePart]) -> str:
    return "\n".join(part.text for part in parts if isinstance(part, TextPart))
