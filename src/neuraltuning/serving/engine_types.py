"""What goes into the engine (`neuraltuning.serving.engine.Engine`) and what comes out of it: plain data, without torch.

Knows nothing about HTTP, and nothing about how requests are batched.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from neuraltuning.errors import InputError, RunError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from neuraltuning.reply import Reply

FinishReason = Literal["stop", "length"]
EarlierTurns = Literal["referred", "always", "never"]
"""When a model reads the earlier turns of a conversation: where the last text refers back to them ("segment it"),
always, or never. A model that was tuned on single turns answers worse behind others (docs/serving.md)."""


@dataclass(frozen=True, eq=False)
class ChatQuery:
    """One request of a conversation.

    Attributes:
        model: the tuned model's name in the engine.
        text: the user's last turn.
        image: the picture that the conversation is about, upright and RGB as `neuraltuning.data.images` opens it.
        earlier: (prompt, reply) of each earlier turn, oldest first; when they are read is the engine's setting.
        seed: of drawn pictures, and of the choice of words where `temperature` is above 0.
        temperature: 0 takes the likeliest token; above 0, tokens are drawn, the evener the higher it is.
        top_p: tokens are drawn from the likeliest ones that together have this probability, in (0, 1].
        max_new_tokens: the longest reply in tokens; None for the model's own.
        stop: the reply ends before the first of these texts; nothing of it is given out.
    """

    model: str
    text: str
    image: Image.Image | None = None
    earlier: tuple[tuple[str, str], ...] = ()
    seed: int = 0
    temperature: float = 0.0
    top_p: float = 1.0
    max_new_tokens: int | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class TextPiece:
    """More of the reply's text; all pieces one after the other are `Reply.text`."""

    text: str


@dataclass(frozen=True, eq=False)
class MaskFound:
    """What an `<OBJ>` means. It comes one step behind the piece with the `<OBJ>`, long before the reply's end.

    Attributes:
        index: of the `<OBJ>` in the reply, from 0.
        mask: (height, width) bool at the picture's size.
        score: the mask's mean probability inside itself, 0 to 1.
        box: x, y, width, height in pixels; zeros where the mask is empty.
    """

    index: int
    mask: NDArray[np.bool_]
    score: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class PictureDrawn:
    """What a `<GEN>` was drawn as; `index` counts the `<GEN>` of the reply from 0."""

    index: int
    image: Image.Image


@dataclass(frozen=True, eq=False)
class Finished:
    """The end of a reply, the last event of a request that did not fail.

    Attributes:
        reply: all of it, masks and pictures in the order of their tokens.
        finish_reason: "stop" where the model or a stop text ended it, "length" where `max_new_tokens` did.
        prompt_tokens: tokens before the reply, those of the image among them.
        cached_tokens: how many of `prompt_tokens` were not read again because the engine remembered them.
        completion_tokens: tokens of the reply.
    """

    reply: Reply
    finish_reason: FinishReason
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


@dataclass(frozen=True, eq=False)
class Failed:
    """The request failed, alone. The last event.

    Attributes:
        error: an `InputError` where the request can't be answered (its sentence is for the user), else the unexpected.
    """

    error: Exception


Event: TypeAlias = TextPiece | MaskFound | PictureDrawn | Finished | Failed
OnEvent: TypeAlias = Callable[[Event], None]
"""Called from the engine's thread, so it has to return at once; what it raises ends its request."""


class ConversationTooLong(InputError):
    """A conversation, with its image and the longest reply, has more tokens than the model has room for."""


class QueueFull(RunError):
    """As many requests wait as the engine lets wait; ask again in a while.

    Attributes:
        retry_after: seconds after which a place is likely free.
    """

    def __init__(self, waiting: int, retry_after: float) -> None:
        super().__init__(f"{waiting} requests wait already; ask again in {retry_after:.0f} seconds.")
        self.retry_after = retry_after


class EngineClosed(RunError):
    """The engine takes no more requests: it shuts down, or it did."""

    def __init__(self) -> None:
        super().__init__("The engine shuts down and takes no more requests.")


class Ticket(Protocol):
    """What `Engine.submit` gives for a request."""

    def cancel(self) -> None:
        """Ends the request: its place is free before the next step, and no event follows. Harmless afterwards."""


@dataclass
class Counts:
    """What a model did since the engine started.

    Attributes:
        prompt_tokens: tokens before the replies of the requests that were begun.
        cached_tokens: those of them that were not read again.
        completion_tokens: tokens of replies.
        steps: passes of a language model that gave each running reply a token.
        image_hits: images whose features were remembered.
        image_misses: images that the encoder read.
        prefix_hits: requests that began at remembered keys and values.
        prefix_misses: requests about an image that did not.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    steps: int = 0
    image_hits: int = 0
    image_misses: int = 0
    prefix_hits: int = 0
    prefix_misses: int = 0


@dataclass
class EngineStatistics(Counts):
    """What the engine did since it started, its models together, and what it does now.

    Attributes:
        waiting: requests that no step has read yet.
        running: requests that are being answered.
        finished: requests that were answered.
        failed: requests that failed.
        cancelled: requests that were cancelled before their end.
        refused: requests that met a full queue.
        cache_bytes: what features, keys and values are remembered in.
    """

    waiting: int = 0
    running: int = 0
    finished: int = 0
    failed: int = 0
    cancelled: int = 0
    refused: int = 0
    cache_bytes: int = 0
