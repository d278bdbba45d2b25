"""What the endpoints share: the engine, the models' names, limits, places, pictures and figures."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from fastapi import Request

from neuraltuning.serving.api.admission import Gate
from neuraltuning.serving.api.errors import ApiError
from neuraltuning.serving.api.limits import MAX_MASK_BYTES, Limits
from neuraltuning.serving.api.metrics import Metrics
from neuraltuning.serving.api.pictures import Pictures
from neuraltuning.serving.engine_types import (
    ChatQuery,
    EngineStatistics,
    Event,
    Failed,
    Finished,
    MaskFound,
    OnEvent,
    Ticket,
)

if TYPE_CHECKING:
    from neuraltuning.model import MultitaskModel

T = TypeVar("T")


class Engine(Protocol):
    """The part of `neuraltuning.serving.engine.Engine` that the endpoints need."""

    def submit(self, query: ChatQuery, on_event: OnEvent) -> Ticket:
        """Takes a request; `on_event` gets what becomes of it."""

    def run(self, model: str, work: Callable[[MultitaskModel], T]) -> Future[T]:
        """Lets `work` have a model for itself, between two steps."""

    def statistics(self) -> EngineStatistics:
        """What it did and does."""


@dataclass(frozen=True)
class ModelCard:
    """What clients may know of a model.

    Attributes:
        name: what requests call it.
        created: when the server loaded it, in seconds since 1970.
        tokens: its task tokens: "<OBJ>" where it segments, "<GEN>" where it draws.
    """

    name: str
    created: int
    tokens: tuple[str, ...]


class Service:
    """One server's state.

    Attributes:
        limits: of one request.
        gate: how many requests are in.
        pictures: opens what requests are about.
        metrics: counts.
        cards: the models by name, the first one first.
    """

    def __init__(self, *, limits: Limits, places: int, pictures: Pictures) -> None:
        self.limits, self.gate, self.pictures = limits, Gate(places), pictures
        self.metrics = Metrics(self.statistics)
        self.cards: dict[str, ModelCard] = {}
        self._engine: Engine | None = None

    def open(self, engine: Engine, cards: Mapping[str, ModelCard]) -> None:
        """Begins to take requests."""
        self._engine, self.cards = engine, dict(cards)
        self.gate.loaded = True

    def statistics(self) -> EngineStatistics:
        """The engine's; zeros before it is loaded."""
        return EngineStatistics() if self._engine is None else self._engine.statistics()

    def card(self, name: str, token: str | None = None) -> ModelCard:
        """The model that a request names.

        Args:
            name: as in the request.
            token: a task token that the model must know.

        Raises:
            ApiError: 404: there is no such model; 400: it lacks the token; 503: it is still being loaded.
        """
        self.gate.check()
        if name not in self.cards:
            message = f"There is no model {name[:100]!r} here; there is {', '.join(self.cards)}."
            raise ApiError(404, message, code="model_not_found", param="model")
        if token is not None and token not in self.cards[name].tokens:
            ability = {"<OBJ>": "segments nothing", "<GEN>": "draws nothing"}[token]
            raise ApiError(400, f"The model {name!r} {ability}; name another one.", param="model")
        return self.cards[name]

    def reply_length(self, asked: int | None, param: str) -> int | None:
        """The longest reply in tokens that a request asked for; None for the model's own.

        Raises:
            ApiError: 400: it is more than the server gives.
        """
        if asked is not None and asked > self.limits.new_tokens:
            message = f"{param}: a reply has at most {self.limits.new_tokens:,} tokens here; ask for fewer."
            raise ApiError(400, message, param=param)
        return asked

    async def ask(self, request: Request, query: ChatQuery) -> Replying:
        """Gives a query to the engine; it is cancelled when the request ends before its reply.

        Raises:
            InputError: the engine can't answer it.
            QueueFull, EngineClosed: it can't now.
        """
        assert self._engine is not None, "the gate lets no request in before the engine is there"
        replying = Replying(self._engine, query, self.limits.seconds, self.metrics)
        at_end: ExitStack = request.state.at_end
        at_end.callback(replying.close)
        await asyncio.to_thread(replying.submit)
        return replying

    async def run(self, model: str, work: Callable[[MultitaskModel], T]) -> T:
        """Lets `work` have a model for itself, in the engine's thread.

        Raises:
            ApiError: 404, 503: as `card`; 504: the time is over.
            EngineClosed: the server shuts down.
            Exception: what `work` raises.
        """
        self.card(model)
        assert self._engine is not None, "the gate is open"
        try:
            return await asyncio.wait_for(asyncio.wrap_future(self._engine.run(model, work)), self.limits.seconds)
        except asyncio.TimeoutError:
            raise _too_late(self.limits.seconds) from None


class Replying:
    """A query in the engine, as the event loop's thread sees it."""

    def __init__(self, engine: Engine, query: ChatQuery, seconds: float, metrics: Metrics) -> None:
        self._engine, self._query, self._seconds, self._metrics = engine, query, seconds, metrics
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.time() + seconds
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._ticket: Ticket | None = None
        self._closed = False
        self._mask_bytes = 0

    def submit(self) -> None:
        """Hands the query over, from any thread; it takes the time of reading its text."""
        self._ticket = self._engine.submit(self._query, self._put)
        if self._closed:  # meanwhile, by the other thread, which saw no ticket yet
            self._ticket.cancel()

    def close(self) -> None:
        """Cancels the query unless it is finished."""
        self._closed = True
        if self._ticket is not None:
            self._ticket.cancel()

    async def next(self) -> Event:
        """The next event; never `Failed`.

        Raises:
            ApiError: 504: the time is over; 400: there are too many masks.
            Exception: what the query failed of.
        """
        try:
            event = await asyncio.wait_for(self._events.get(), max(0.0, self._deadline - self._loop.time()))
        except asyncio.TimeoutError:
            raise _too_late(self._seconds) from None
        if isinstance(event, Failed):
            raise event.error
        if isinstance(event, MaskFound):
            self._mask_bytes += event.mask.nbytes
            if self._mask_bytes > MAX_MASK_BYTES:
                message = "The reply has too many masks for so large a picture; send it smaller, or ask for less."
                raise ApiError(400, message, code="too_many_masks")
        if isinstance(event, Finished):
            counts = (event.prompt_tokens, event.cached_tokens, event.completion_tokens)
            self._metrics.counted(self._query.model, *counts)
        return event

    async def finished(self) -> Finished:
        """The end of the reply, which holds all of it.

        Raises:
            ApiError, Exception: as `next`.
        """
        while not isinstance(event := await self.next(), Finished):
            pass
        return event

    def _put(self, event: Event) -> None:
        self._loop.call_soon_threadsafe(self._events.put_nowait, event)


def _too_late(seconds: float) -> ApiError:
    message = f"There was no answer within {seconds:g} seconds; ask for a shorter reply, or again later."
    return ApiError(504, message, code="timeout")
