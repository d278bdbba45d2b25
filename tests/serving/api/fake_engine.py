"""An engine that answers by rules, in a thread of its own, as slowly as a test likes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from PIL import Image

from neuraltuning.errors import InputError
from neuraltuning.reply import assemble_reply, mask_box
from neuraltuning.serving.engine_types import (
    ChatQuery,
    EngineClosed,
    EngineStatistics,
    Event,
    Failed,
    Finished,
    MaskFound,
    OnEvent,
    PictureDrawn,
    QueueFull,
    TextPiece,
)

if TYPE_CHECKING:
    from neuraltuning.model import MultitaskModel

T = TypeVar("T")


class FakeTicket:
    """A query under way."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()

    def cancel(self) -> None:
        self.cancelled.set()


class FakeEngine:
    """Replies with what it was asked: "segment" gives masks, "draw" a picture, "fail" fails, "refuse" is refused.

    Attributes:
        queries: what it was asked.
        running: queries under way.
        pause: seconds before each event.
        room: queries under way at most.
        retry_after: what it says when it is full.
        on_refused: called then.
        events: what becomes of a query.
    """

    def __init__(self, *, pause: float = 0.0, room: int = 64) -> None:
        self.queries: list[ChatQuery] = []
        self.running = 0
        self.cancelled = 0
        self.pause, self.room = pause, room
        self.retry_after = 7.0
        self.on_refused: Callable[[], None] = lambda: None
        self.events: Callable[[ChatQuery], Iterator[Event]] = fake_events
        self._closed = False
        self._lock = threading.Lock()

    def submit(self, query: ChatQuery, on_event: OnEvent) -> FakeTicket:
        if "refuse" in query.text or not query.text.strip():
            raise InputError("the text can't be answered; write another one.")
        with self._lock:
            if self._closed:
                raise EngineClosed
            if self.running >= self.room:
                self.on_refused()
                raise QueueFull(self.running, self.retry_after)
            self.running += 1
            self.queries.append(query)
        ticket = FakeTicket()
        threading.Thread(target=self._answer, args=(query, on_event, ticket), daemon=True).start()
        return ticket

    def run(self, model: str, work: Callable[[MultitaskModel], T]) -> Future[T]:
        raise InputError(f"there is no model {model!r}.")

    def statistics(self) -> EngineStatistics:
        return EngineStatistics(running=self.running, finished=len(self.queries), cancelled=self.cancelled)

    def close(self, drain_seconds: float) -> None:
        self._closed = True

    def wait_until_idle(self) -> float:
        """Waits until nothing is under way; how long it took."""
        return until(lambda: self.running == 0)

    def _answer(self, query: ChatQuery, on_event: OnEvent, ticket: FakeTicket) -> None:
        try:
            for event in self.events(query):
                if ticket.cancelled.wait(self.pause):
                    self.cancelled += 1
                    return
                if self._closed:
                    on_event(Failed(EngineClosed()))
                    return
                on_event(event)
        finally:
            with self._lock:
                self.running -= 1


def fake_events(query: ChatQuery) -> Iterator[Event]:
    """What becomes of a query."""
    if "fail" in query.text:
        yield TextPiece("Well")
        yield Failed(InputError("it needs a picture.") if "kindly" in query.text else KeyError("/secret/path"))
        return
    masks: list[tuple[np.ndarray, float]] = []
    pictures: list[Image.Image] = []
    text = ""
    for piece in reply_pieces(query):
        text += piece
        yield TextPiece(piece)
        if piece == " <OBJ>":
            width, height = query.image.size if query.image else (4, 3)
            mask = np.zeros((height, width), dtype=bool)
            mask[1:3, 1 + len(masks) :] = True
            masks.append((mask, 0.75))
            yield MaskFound(len(masks) - 1, mask, 0.75, mask_box(mask))
        if piece == " <GEN>":
            shade = query.seed % 256
            pictures.append(Image.new("RGB", (8, 8), (shade, shade, shade)))
            yield PictureDrawn(len(pictures) - 1, pictures[-1])
    size = None if query.image is None else (query.image.height, query.image.width)
    reply = assemble_reply(text, {"<OBJ>": masks, "<GEN>": pictures}, size)
    yield Finished(reply, "stop", 10 + len(query.text.split()), 4, len(text.split()))


def reply_pieces(query: ChatQuery) -> list[str]:
    """The reply's text."""
    if "segment" in query.text:
        return ["The cat", " <OBJ>", " and the dog", " <OBJ>", "."]
    if "draw" in query.text.lower():
        return ["Here is the picture", " <GEN>", "."]
    return [f"{query.text}", f" after {len(query.earlier)}"]


def until(condition: Callable[[], bool], seconds: float = 5.0) -> float:
    """Waits for a condition; how long it took.

    Raises:
        AssertionError: it didn't come true.
    """
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds, "it didn't happen in time"
        time.sleep(0.005)
    return time.monotonic() - start
