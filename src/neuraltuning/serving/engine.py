"""Answering many requests at once: one thread, one language model, requests that come and go between its steps.

    engine = Engine(load_models({"scenes": "runs/quickstart/model"}))
    engine.submit(ChatQuery("scenes", "Please segment the cat.", image), print)

Knows nothing about HTTP, and nothing about files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

from neuraltuning.serving.engine_types import ChatQuery, EngineStatistics, OnEvent, Ticket

if TYPE_CHECKING:
    from neuraltuning.model import MultitaskModel

CACHE_BYTES = 512 * 2**20
T = TypeVar("T")


class Engine:
    """Answers requests for several tuned models, batched, in a thread of its own."""

    def __init__(
        self,
        models: Mapping[str, MultitaskModel],
        *,
        max_batch: int = 8,
        max_waiting: int = 64,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        """Starts the thread.

        Args:
            models: by the names that requests call them by; see `neuraltuning.serving.models.load_models`.
            max_batch: requests that are answered at once.
            max_waiting: requests that may wait beside them.
            cache_bytes: memory for what images and conversations need not be read for again.
        """
        raise NotImplementedError

    def submit(self, query: ChatQuery, on_event: OnEvent) -> Ticket:
        """Takes a request, from any thread; `on_event` gets what becomes of it.

        Raises:
            InputError: there is no such model, a setting is out of range, the text is empty, or the conversation is
                longer than the model's context.
            QueueFull: too many wait.
            EngineClosed: the engine shuts down.
        """
        raise NotImplementedError

    def run(self, model: str, work: Callable[[MultitaskModel], T]) -> Future[T]:
        """Lets `work` have a model for itself, in the engine's thread between two steps; from any thread.

        For what is no reply, such as looking into one. Replies wait meanwhile, so it has to be short. The future gets
        what `work` gives or raises; cancelled before its turn, it is never begun.

        Raises:
            InputError: there is no such model.
            EngineClosed: the engine shuts down; so does the future of what was not begun by then.
        """
        raise NotImplementedError

    def statistics(self) -> EngineStatistics:
        """What the engine did and does; from any thread."""
        raise NotImplementedError

    def close(self, drain_seconds: float) -> None:
        """Refuses new requests, answers those that run or wait for at most so many seconds, and ends the thread.

        What is not answered by then fails with `EngineClosed`.
        """
        raise NotImplementedError
