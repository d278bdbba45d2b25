"""An engine that knows the demo's example pictures and answers with their true masks, and the demo on it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
from PIL import Image

from neuraltuning.data.sample import Sample
from neuraltuning.data.scenes import SceneDataset
from neuraltuning.errors import InputError
from neuraltuning.model import MultitaskModel
from neuraltuning.reply import assemble_reply, mask_box
from neuraltuning.serving.api.app import create_app
from neuraltuning.serving.api.service import Engine, ModelCard
from neuraltuning.serving.demo.app import add_demo
from neuraltuning.serving.demo.examples import PICKED, SPLIT
from neuraltuning.serving.engine_types import (
    ChatQuery,
    ConversationTooLong,
    Event,
    Failed,
    Finished,
    MaskFound,
    OnEvent,
    PictureDrawn,
    TextPiece,
)
from tests.serving.api.fake_engine import FakeEngine, FakeTicket
from tests.serving.api.serving import service, serving

T = TypeVar("T")
SCORE = 0.93
LONGEST_TEXT = 2000


class ScriptedEngine(FakeEngine):
    """Segments what is asked for by a phrase, answers reasoning questions, describes, counts, and draws.

    Attributes:
        model: what is looked into; None refuses.
        room_for_turns: earlier turns that it has room for.
    """

    def __init__(self, model: MultitaskModel | None = None, *, pause: float = 0.0, room: int = 64) -> None:
        super().__init__(pause=pause, room=room)
        self.model = model
        self.events = scripted_events
        self.room_for_turns = 8

    def submit(self, query: ChatQuery, on_event: OnEvent) -> FakeTicket:
        if len(query.earlier) > self.room_for_turns or len(query.text) > LONGEST_TEXT:
            raise ConversationTooLong("the conversation is too long; leave out earlier turns.")
        return super().submit(query, on_event)

    def run(self, model: str, work: Callable[[MultitaskModel], T]) -> Future[T]:
        future: Future[T] = Future()
        try:
            if self.model is None:
                raise InputError("this model can't be looked into.")
            future.set_result(work(self.model))
        except Exception as error:
            future.set_exception(error)
        return future


@contextmanager
def demo(
    engine: Engine, *, able: tuple[str, ...] = ("<OBJ>", "<GEN>"), places: int = 64, body_bytes: int = 2**25
) -> Iterator[str]:
    """The address of a running demo."""
    made = service(engine, places=places, body_bytes=body_bytes)
    made.open(engine, {"scenes": ModelCard("scenes", 1_700_000_000, able)})
    app = create_app(made)
    add_demo(app, made)
    with serving(app) as address:
        yield f"{address}/"


def scene(number: int) -> Sample:
    """The sample of an example picture."""
    return SceneDataset(SPLIT)[PICKED[number]]


def sample_of(image: Image.Image) -> Sample | None:
    """The sample that a picture is of."""
    pixels = np.asarray(image)
    return next((s for s in map(scene, range(len(PICKED))) if np.array_equal(np.asarray(s.image), pixels)), None)


def scripted_events(query: ChatQuery) -> Iterator[Event]:
    """What becomes of a query."""
    if "fail" in query.text:
        yield TextPiece("Well")
        yield Failed(KeyError("/secret/path"))
        return
    sample = None if query.image is None else sample_of(query.image)
    text, masks = _reply(query, sample)
    found: list[tuple[np.ndarray, float]] = []
    drawn: list[Image.Image] = []
    for piece in re.findall(r"\s*<(?:OBJ|GEN)>|\s*(?:(?!<(?:OBJ|GEN)>)\S)+", text):
        yield TextPiece(piece)
        if piece.endswith("<OBJ>"):
            found.append((masks[len(found)], SCORE))
            yield MaskFound(len(found) - 1, found[-1][0], SCORE, mask_box(found[-1][0]))
        if piece.endswith("<GEN>"):
            drawn.append(Image.fromarray(np.roll(np.asarray(scene(0).image), 8 * query.seed, axis=1)))
            yield PictureDrawn(len(drawn) - 1, drawn[-1])
    size = None if query.image is None else (query.image.height, query.image.width)
    reply = assemble_reply(text, {"<OBJ>": found, "<GEN>": drawn}, size)
    yield Finished(reply, "length" if "at length" in query.text else "stop", 10, 4, len(text.split()))


def _reply(query: ChatQuery, sample: Sample | None) -> tuple[str, list[np.ndarray]]:
    """The text, and what its `<OBJ>` mean."""
    if "draw" in query.text.lower():
        return "Here is the picture <GEN>.", []
    if "everything" in query.text:
        return " ".join(f"word{number}" for number in range(40)) + ".", []
    if sample is None:
        return f"I was asked: {query.text}", []
    for asked in sample.reasoning:
        if asked.question == query.text:
            return asked.answer, [sample.objects[i].mask for i in asked.objects]
    if "segment" in query.text:
        phrases = {phrase.text: entry.mask for entry in sample.objects for phrase in entry.phrases}
        found = sorted((query.text.find(phrase), -len(phrase), phrase) for phrase in phrases if phrase in query.text)
        named: list[str] = []
        end = -1
        for at, length, phrase in found:
            if at >= end:
                named.append(phrase)
                end = at - length
        joined = " and ".join(f"{phrase} <OBJ>" for phrase in named)
        return f"{joined[:1].upper()}{joined[1:]}.", [phrases[phrase] for phrase in named]
    if query.text.startswith("How many"):
        return f"{len(sample.objects)}, after {len(query.earlier)} earlier turns.", []
    return sample.captions[0], []
