"""Answering requests with a tuned model and writing the answers: reply, masks, overlay, pictures, COCO records.

    neuraltuning predict MODEL --image cat.jpg --text "Please segment the cat." --out answers
    neuraltuning predict MODEL --requests requests.jsonl --out answers

Each answer is a folder whose `reply.json` is written last, so that what was answered before an interruption is kept and
not asked again. Knows the model only by its `reply_batch`, and the engine by its `submit`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from neuraltuning.data.images import open_image
from neuraltuning.errors import InputError
from neuraltuning.prediction_answers import is_answered, write_answer
from neuraltuning.prediction_requests import Request
from neuraltuning.serving.engine_types import ChatQuery, Event, Failed, Finished, OnEvent, Ticket

if TYPE_CHECKING:
    from PIL import Image

    from neuraltuning.model import Query
    from neuraltuning.reply import Reply

MODEL = "model"
"""What the engine calls the model."""
MAX_PIXELS = 100_000_000
"""No further picture is opened while those of the requests under way have more pixels."""


class Model(Protocol):
    """The part of `neuraltuning.MultitaskModel` that one prediction needs."""

    def reply_batch(self, queries: list[Query]) -> list[Reply]:
        """One reply a query, in order."""


class Engine(Protocol):
    """The part of `neuraltuning.serving.engine.Engine` that many predictions need; its model is called `MODEL`."""

    def submit(self, query: ChatQuery, on_event: OnEvent) -> Ticket:
        """Takes a request; `on_event` gets what becomes of it."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What became of a request.

    Attributes:
        request: what was asked.
        folder: where its answer is.
        reply: the reply, or None where it was there already or could not be given.
        error: why it could not be given.
    """

    request: Request
    folder: Path
    reply: Reply | None = None
    error: InputError | None = None


def answer_request(model: Model, request: Request, folder: Path, *, stamp: str = "") -> Reply:
    """Answers one request and writes the answer into `folder`.

    Args:
        model: answers.
        request: what is asked.
        folder: where the answer goes (see `write_answer`).
        stamp: the model's `model_stamp`.

    Raises:
        InputError: the picture or the text is unusable.
        RunError: the answer could not be written.
    """
    from neuraltuning.model import Query

    image = None if request.image is None else open_image(request.image)
    [reply] = model.reply_batch([Query(image, request.text, request.seed, request.max_new_tokens)])
    write_answer(folder, request, image, reply, stamp)
    return reply


def answer_requests(
    engine: Engine, requests: Iterable[Request], output: Path, *, ahead: int = 16, stamp: str = ""
) -> Iterator[Answer]:
    """Answers requests, each into the folder of its id below `output`, and yields in order what became of each.

    They are read, and their pictures opened, only shortly before their turn. A request that is answered there already,
    with the same words by the same model, is not asked again. One with an unusable picture or text is reported in its
    `Answer` and does not stop the others.

    Args:
        engine: answers; it has to let so many requests wait as are under way.
        requests: what is asked, each with its own id.
        output: parent of the answers' folders.
        ahead: how many requests are under way at most: twice what the engine answers at once keeps it busy.
        stamp: the model's `model_stamp`.

    Raises:
        RunError: an answer could not be written.
    """
    under_way: deque[_Asked] = deque()
    asking = _Asking(engine, output, stamp)
    try:
        for request in requests:
            under_way.append(asking.ask(request))
            while len(under_way) >= ahead or sum(asked.pixels for asked in under_way) > MAX_PIXELS:
                yield under_way.popleft().answer()
        while under_way:
            yield under_way.popleft().answer()
    finally:
        for asked in under_way:
            asked.cancel()
        asking.close()


class _Asked:
    """A request under way.

    Attributes:
        request: what was asked.
        pixels: of its picture.
        outcome: what becomes of it.
        ticket: the engine's.
    """

    def __init__(self, request: Request, pixels: int = 0) -> None:
        self.request, self.pixels = request, pixels
        self.outcome: Future[Answer] = Future()
        self.ticket: Ticket | None = None

    def answer(self) -> Answer:
        """Waits for it."""
        return self.outcome.result()

    def cancel(self) -> None:
        """Nobody waits for it."""
        if self.ticket is not None:
            self.ticket.cancel()


class _Asking:
    """Gives requests to the engine and writes its answers in a thread of its own, so that no step waits for a disk."""

    def __init__(self, engine: Engine, output: Path, stamp: str) -> None:
        self.engine, self.output, self.stamp = engine, output, stamp
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._opened: tuple[str, Image.Image] | None = None  # requests about one picture often follow each other

    def ask(self, request: Request) -> _Asked:
        """Opens a request's picture and asks, unless it is answered."""
        folder = self.output / request.id
        if is_answered(folder, request, self.stamp):
            asked = _Asked(request)
            asked.outcome.set_result(Answer(request, folder))
            return asked
        try:
            image = None if request.image is None else self._open(request.image)
            asked = _Asked(request, 0 if image is None else image.width * image.height)
            asked.ticket = self.engine.submit(_query(request, image), lambda event: self._hear(asked, image, event))
        except InputError as error:
            asked = _Asked(request)
            asked.outcome.set_result(Answer(request, folder, error=error))
        return asked

    def close(self) -> None:
        """Waits for what is being written."""
        self._writer.shutdown()

    def _open(self, path: str) -> Image.Image:
        if self._opened is None or self._opened[0] != path:
            self._opened = None
            self._opened = path, open_image(path)
        return self._opened[1]

    def _hear(self, asked: _Asked, image: Image.Image | None, event: Event) -> None:
        """Takes an event; in the engine's thread."""
        if isinstance(event, Failed):
            if isinstance(event.error, InputError):
                asked.outcome.set_result(Answer(asked.request, self.output / asked.request.id, error=event.error))
            else:
                asked.outcome.set_exception(event.error)
        elif isinstance(event, Finished):
            with suppress(RuntimeError):  # the run was broken off, and nobody waits for this answer
                self._writer.submit(self._write, asked, image, event.reply)

    def _write(self, asked: _Asked, image: Image.Image | None, reply: Reply) -> None:
        folder = self.output / asked.request.id
        try:
            write_answer(folder, asked.request, image, reply, self.stamp)
        except BaseException as error:
            asked.outcome.set_exception(error)
        else:
            asked.outcome.set_result(Answer(asked.request, folder, reply))


def _query(request: Request, image: Image.Image | None) -> ChatQuery:
    return ChatQuery(MODEL, request.text, image, seed=request.seed, max_new_tokens=request.max_new_tokens)
