"""One request from its tokens to its events. Knows nothing of batches, threads or the language model."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from neuraltuning.generate import Growing
from neuraltuning.kv_cache import KeysAndValues
from neuraltuning.prompt_format import PromptFormat
from neuraltuning.reply import Reply, assemble_reply, mask_box
from neuraltuning.serving.engine_types import (
    ChatQuery,
    Event,
    Failed,
    Finished,
    FinishReason,
    MaskFound,
    OnEvent,
    PictureDrawn,
    TextPiece,
)
from neuraltuning.serving.text_stream import TextStream

_log = logging.getLogger(__name__)

MASK_TOKEN, PICTURE_TOKEN = "<OBJ>", "<GEN>"
"""The task tokens whose values are events of their own; those of others are in the reply alone."""


@dataclass(eq=False)
class Occurrence:
    """A task token of the reply.

    Attributes:
        token: "<OBJ>".
        index: counts those of its kind from 0.
        place: how many of the reply's tokens there are up to it.
        state: (1, state.size), what its decoder reads.
        value: what it was decoded to.
        decoded, told: whether that is there, and whether it was given out.
    """

    token: str
    index: int
    place: int
    state: Tensor
    value: Any = None
    decoded: bool = False
    told: bool = False


class Answering:
    """A request while it waits and is answered.

    Attributes:
        query: what was asked.
        ids: the sequence before the reply, see `neuraltuning.generate.Start`.
        mention: where in `ids` what is said begins, see there too.
        longest: the longest reply in tokens.
        digest: stands for the picture; None without one.
        cancelled: nobody wants it any more; set from any thread.
        growing: its sequence, while it is in a batch.
        kept: the keys and values that it begins with, until it joined a batch.
        n_kept: how many positions that are.
        unknown: whether those of its picture are still to be remembered.
        begun: whether it has left the queue.
        since: when it was asked, by `time.monotonic`.
        over: whether its last event was given out.
        error: why it failed; None if it did not.
    """

    def __init__(
        self,
        query: ChatQuery,
        ids: Sequence[int],
        mention: int,
        longest: int,
        digest: bytes | None,
        text_format: PromptFormat,
        on_event: OnEvent,
    ) -> None:
        self.query, self.ids, self.mention, self.longest, self.digest = query, ids, mention, longest, digest
        self.cancelled = False
        self.growing: Growing | None = None
        self.kept: KeysAndValues | None = None
        self.n_kept = 0
        self.unknown = False
        self.begun = False
        self.since = time.monotonic()
        self._on_event = on_event
        self._stream = TextStream(text_format, query.stop)
        self._reply: list[int] = []
        self._occurrences: list[Occurrence] = []
        self._reason: FinishReason | None = None
        self.over = False
        self.error: Exception | None = None

    @property
    def ended(self) -> bool:
        """Whether the reply has no further tokens; what it means may still be drawn."""
        return self._reason is not None

    def grow(self, reply: Sequence[int], finished: FinishReason | None) -> None:
        """Takes the reply so far, and gives out what is new."""
        self._reply = list(reply)
        piece = self._stream.grow(reply, last=finished is not None)
        if piece:
            self._tell(TextPiece(piece))
        if self._stream.stopped:
            finished = "stop"
        self._reason = finished
        self._go_on()

    def states_of(self, token: str) -> list[Tensor]:
        """The states of the task tokens of a kind so far."""
        return [o.state for o in self._occurrences if o.token == token]

    def expect(self, token: str, place: int, state: Tensor) -> Occurrence:
        """Notes a task token that will be decoded; give its value to `found`."""
        self._occurrences.append(Occurrence(token, len(self.states_of(token)), place, state))
        return self._occurrences[-1]

    def found(self, occurrence: Occurrence, value: Any) -> None:
        """Takes what a task token means."""
        occurrence.value, occurrence.decoded = value, True
        self._go_on()

    def fail(self, error: Exception) -> None:
        """Ends the request with an error."""
        if not self.over:
            self.over, self.error = True, error
            self._tell(Failed(error))

    def _go_on(self) -> None:
        """Gives out values whose tokens were given out, and the end once everything is there."""
        if self.over:
            return
        for one in self._occurrences:
            if one.decoded and not one.told and self._stream.has(self._reply[: one.place]):
                one.told = True
                self._tell_value(one)
        if self._reason is None:
            return
        said = [o for o in self._occurrences if self._stream.has(self._reply[: o.place])]
        if all(o.decoded for o in said):
            self.over = True
            size = None if self.query.image is None else (self.query.image.height, self.query.image.width)
            decoded: dict[str, list[Any]] = {}
            for one in said:
                decoded.setdefault(one.token, []).append(one.value)
            reply: Reply = assemble_reply(self._stream.text, decoded, size)
            self._tell(Finished(reply, self._reason, len(self.ids), self.n_kept, len(self._reply)))

    def _tell_value(self, one: Occurrence) -> None:
        if one.token == MASK_TOKEN:
            mask, score = one.value
            self._tell(MaskFound(one.index, mask, float(score), mask_box(mask)))
        elif one.token == PICTURE_TOKEN:
            self._tell(PictureDrawn(one.index, one.value))

    def _tell(self, event: Event) -> None:
        if self.cancelled:
            return
        try:
            self._on_event(event)
        except Exception:
            _log.exception("What a request's events were given to failed; the request ends.")
            self.cancelled = True
