"""Asking an engine in tests: what each request's events were, and waiting for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from neuraltuning.model import MultitaskModel, Query
from neuraltuning.reply import Reply
from neuraltuning.serving.engine import Engine
from neuraltuning.serving.engine_types import ChatQuery, Event, Failed, Finished, MaskFound, PictureDrawn, TextPiece
from tests.tiny_models import lively, sample

PATIENCE = 60.0

IMAGES = [sample(0).image, sample(1, (36, 64)).image, sample(2, (30, 30)).image]
TEXTS = [
    "Please segment the red square.",
    "How many squares?",
    "a",
    "What is in this picture? " * 6,
    "Mark the blue square in the image.",
    "Find the red square.",
]


def chat(number: int, **changes: Any) -> ChatQuery:
    """One of many different requests for the model "m0"."""
    fields: dict[str, Any] = {
        "model": "m0",
        "text": TEXTS[number % len(TEXTS)],
        "image": IMAGES[number % len(IMAGES)],
        "max_new_tokens": 5 + 7 * (number % 4),
    }
    return ChatQuery(**{**fields, **changes})


def lively_writer(model: MultitaskModel) -> MultitaskModel:
    """Gives a tiny model weights with which it writes masks, and ends some replies by itself."""
    for seed in range(60):
        lively(model, seed)
        replies = [alone(model, chat(number)) for number in range(6)]
        if sum(len(reply.masks) for reply in replies) > 3 and len({reply.text for reply in replies}) > 3:
            return model
    raise AssertionError("No seed makes the tiny model write masks.")


class Heard:
    """The events of one request, as they come."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.over = threading.Event()

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, (Finished, Failed)):
            self.over.set()

    def wait(self) -> Event:
        """The last event."""
        assert self.over.wait(PATIENCE), f"nothing more came after {self.events[-3:]}"
        return self.events[-1]

    @property
    def finished(self) -> Finished:
        """The end of a reply that did not fail."""
        event = self.wait()
        assert isinstance(event, Finished), event
        return event

    @property
    def error(self) -> Exception:
        """Why the request failed."""
        event = self.wait()
        assert isinstance(event, Failed), event
        return event.error

    @property
    def text(self) -> str:
        """All pieces so far."""
        return "".join(event.text for event in self.events if isinstance(event, TextPiece))


def ask(engine: Engine, queries: Iterable[ChatQuery]) -> list[Heard]:
    """Asks everything at once and waits for all of it."""
    asked = list(queries)
    heard = [Heard() for _ in asked]
    for query, one in zip(asked, heard, strict=True):
        engine.submit(query, one)
    for one in heard:
        one.wait()
    return heard


def alone(model: MultitaskModel, query: ChatQuery) -> Reply:
    """What the model replies by itself."""
    [reply] = model.reply_batch([Query(query.image, query.text, query.seed, query.max_new_tokens)])
    return reply


def same(one: Reply, other: Reply) -> None:
    """Fails unless two replies are equal: text, masks, scores, pictures."""
    assert one.text == other.text
    np.testing.assert_array_equal(one.masks, other.masks)
    np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)
    assert len(one.images) == len(other.images)
    for ours, theirs in zip(one.images, other.images, strict=True):  # rounding may tip a pixel
        np.testing.assert_allclose(np.asarray(ours, dtype=int), np.asarray(theirs, dtype=int), atol=1)
    assert one.decoded.keys() == other.decoded.keys()


def check_events(heard: Heard) -> None:
    """Fails unless the events of a reply tell what its end tells, each where it belongs."""
    reply = heard.finished.reply
    assert heard.text == reply.text
    assert all(event.text for event in heard.events if isinstance(event, TextPiece))
    masks = [event for event in heard.events if isinstance(event, MaskFound)]
    assert [found.index for found in masks] == list(range(len(reply.masks)))
    for found, mask, score, box in zip(masks, reply.masks, reply.scores, reply.boxes, strict=True):
        np.testing.assert_array_equal(found.mask, mask)
        assert abs(found.score - float(score)) < 1e-6
        np.testing.assert_array_equal(np.array(found.box, dtype=np.float32), box)
    pictures = [event for event in heard.events if isinstance(event, PictureDrawn)]
    assert [event.image for event in sorted(pictures, key=lambda event: event.index)] == list(reply.images)
    text = ""
    for event in heard.events:
        if isinstance(event, TextPiece):
            text += event.text
        elif isinstance(event, MaskFound):
            assert text.count("<OBJ>") > event.index  # after its <OBJ>
        elif isinstance(event, PictureDrawn):
            assert text.count("<GEN>") > event.index


def until(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Waits for a condition."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.002)


def texts(heard: Sequence[Heard]) -> list[str]:
    """The replies' texts."""
    return [one.finished.reply.text for one in heard]
