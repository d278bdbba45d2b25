"""Answering many requests at once: one thread, one language model, requests that come and go between its steps.

    engine = Engine(load_models({"scenes": "runs/quickstart/model"}))
    engine.submit(ChatQuery("scenes", "Please segment the cat.", image), print)

Knows nothing about HTTP, and nothing about files.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from neuraltuning.errors import InputError
from neuraltuning.serving.answering import Answering
from neuraltuning.serving.drawer import Drawer, Drawn
from neuraltuning.serving.engine_types import (
    ChatQuery,
    Counts,
    EarlierTurns,
    EngineClosed,
    EngineStatistics,
    OnEvent,
    QueueFull,
    Ticket,
)
from neuraltuning.serving.intake import make_answering
from neuraltuning.serving.model_worker import ModelWorker
from neuraltuning.serving.remembered import Remembered

if TYPE_CHECKING:
    from neuraltuning.model import MultitaskModel

CACHE_BYTES = 512 * 2**20
SHORTEST_WAIT, LONGEST_WAIT = 1.0, 60.0
"""Seconds that a client is told to wait when the queue is full."""
NEWEST = 0.1
"""What the newest reply counts in the mean time of a reply."""

_log = logging.getLogger(__name__)
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
        earlier: EarlierTurns = "referred",
    ) -> None:
        """Starts the thread.

        Args:
            models: by the names that requests call them by; see `neuraltuning.serving.models.load_models`.
            max_batch: requests that are answered at once.
            max_waiting: requests that may wait beside them.
            cache_bytes: memory for what images need not be read for again.
            earlier: when the earlier turns of a conversation are read.
        """
        self.models = {name: model.eval() for name, model in models.items()}
        self.max_batch, self.max_waiting, self.earlier = max_batch, max_waiting, earlier
        self._remembered = Remembered(cache_bytes)
        self._drawer = Drawer(self._put_drawn)
        self._workers = {
            name: ModelWorker(name, model, self._remembered, self._drawer.put) for name, model in self.models.items()
        }
        self._changed = threading.Condition()  # guards what follows
        self._waiting: deque[Answering] = deque()
        self._open: set[Answering] = set()
        self._drawn: deque[Drawn] = deque()
        self._calls: deque[tuple[Future[Any], str, Callable[[MultitaskModel], Any]]] = deque()
        self._deadline: float | None = None
        self._ended = {"finished": 0, "failed": 0, "cancelled": 0, "refused": 0}
        self._seconds = SHORTEST_WAIT
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    def submit(self, query: ChatQuery, on_event: OnEvent) -> Ticket:
        """Takes a request, from any thread; `on_event` gets what becomes of it.

        Raises:
            InputError: there is no such model, a setting is out of range, the text is empty, or the conversation is
                longer than the model's context.
            QueueFull: too many wait.
            EngineClosed: the engine shuts down.
        """
        request = make_answering(self._model(query.model), query, on_event, self.earlier)
        with self._changed:
            if self._deadline is not None:
                raise EngineClosed
            if len(self._waiting) >= self.max_waiting and self._n_running() + len(self._waiting) >= self.max_batch:
                self._ended["refused"] += 1
                raise QueueFull(len(self._waiting), min(max(self._seconds, SHORTEST_WAIT), LONGEST_WAIT))
            self._waiting.append(request)
            self._open.add(request)
            self._changed.notify_all()
        return _Ticket(self, request)

    def run(self, model: str, work: Callable[[MultitaskModel], T]) -> Future[T]:
        """Lets `work` have a model for itself, in the engine's thread between two steps; from any thread.

        For what is no reply, such as looking into one. Replies wait meanwhile, so it has to be short. The future gets
        what `work` gives or raises; cancelled before its turn, it is never begun.

        Raises:
            InputError: there is no such model.
            EngineClosed: the engine shuts down; so does the future of what was not begun by then.
        """
        self._model(model)
        future: Future[T] = Future()
        with self._changed:
            if self._deadline is not None:
                raise EngineClosed
            self._calls.append((future, model, work))
            self._changed.notify_all()
        return future

    def statistics(self) -> EngineStatistics:
        """What the engine did and does; from any thread."""
        counts = [dataclasses.asdict(worker.counts) for worker in self._workers.values()]
        with self._changed:
            return EngineStatistics(
                waiting=len(self._waiting),
                running=self._n_running(),
                cache_bytes=self._remembered.n_bytes,
                **self._ended,
                **{field.name: sum(c[field.name] for c in counts) for field in dataclasses.fields(Counts)},
            )

    def close(self, drain_seconds: float) -> None:
        """Refuses new requests, answers those that run or wait for at most so many seconds, and ends the thread.

        What is not answered by then fails with `EngineClosed`.
        """
        with self._changed:
            deadline = time.monotonic() + drain_seconds
            self._deadline = deadline if self._deadline is None else min(self._deadline, deadline)
            self._changed.notify_all()
        self._thread.join()
        self._drawer.close()

    def _model(self, name: str) -> MultitaskModel:
        if name not in self.models:
            raise InputError(f"There is no model named {name[:60]!r}; there is {', '.join(self.models)}.")
        return self.models[name]

    def _n_running(self) -> int:
        return len(self._open) - len(self._waiting)

    def _cancel(self, request: Answering) -> None:
        with self._changed:
            if request.over or request.cancelled:
                return
            request.cancelled = True
            if request in self._waiting:
                self._waiting.remove(request)
                self._end(request)
            self._changed.notify_all()

    def _put_drawn(self, drawn: Drawn) -> None:
        with self._changed:
            self._drawn.append(drawn)
            self._changed.notify_all()

    # --- in the engine's thread ---------------------------------------------------------------------------------------

    @torch.no_grad()
    def _work(self) -> None:
        try:
            while self._next():
                self._go_on()
        finally:  # nobody may wait for an answer that doesn't come, whatever happened
            self._stop()

    def _go_on(self) -> None:
        """One step of every model, and the places of those that are over are free."""
        for worker in self._workers.values():
            try:
                worker.work()
            except Exception as error:
                _log.exception("A pass of the model %s failed; so do the requests that it answered.", worker.name)
                worker.fail(error)
        with self._changed:
            for request in [r for r in self._open if r.over or (r.cancelled and r.begun)]:
                self._workers[request.query.model].drop(request)
                self._end(request)

    def _next(self) -> bool:
        """Waits until there is something to do and gets it ready; False if the engine is to end."""
        with self._changed:
            while not (self._waiting or self._calls or self._drawn or self._busy() or self._deadline is not None):
                self._changed.wait()
            if self._deadline is not None:
                if not self._open or time.monotonic() >= self._deadline:
                    return False
                if not (self._waiting or self._drawn or self._busy()):  # a picture is still being drawn
                    self._changed.wait(self._deadline - time.monotonic())
            self._admit()
            calls, drawn = list(self._calls), list(self._drawn)
            self._calls.clear()
            self._drawn.clear()
        for future, name, work in calls:
            self._call(future, name, work)
        for one in drawn:
            one.tell()
        return True

    def _busy(self) -> bool:
        """Whether there is a step to take, or a place to free."""
        return any(worker.answering for worker in self._workers.values()) or any(r.cancelled for r in self._open)

    def _admit(self) -> None:
        """Lets waiting requests into the batch, in their order, as far as there are places."""
        places = self.max_batch - sum(len(worker.answering) for worker in self._workers.values())
        for request in list(self._waiting):
            if places > 0 and self._workers[request.query.model].admit(request):
                self._waiting.remove(request)
                places -= 1

    def _call(self, future: Future[Any], name: str, work: Callable[[MultitaskModel], Any]) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(work(self.models[name]))
        except Exception as error:
            future.set_exception(error)

    def _end(self, request: Answering) -> None:
        """Counts a request that is over."""
        self._open.discard(request)
        if request.error is not None:
            how = "failed"
        elif request.over:
            how = "finished"
            self._seconds += NEWEST * (time.monotonic() - request.since - self._seconds)
        else:
            how = "cancelled"
        self._ended[how] += 1

    def _stop(self) -> None:
        """Tells everybody who still waits that nothing will come."""
        with self._changed:
            self._deadline = 0.0
            left, self._waiting = list(self._open), deque()
            calls, self._calls = list(self._calls), deque()
        for request in left:
            request.fail(EngineClosed())
        for future, _, _ in calls:
            if future.set_running_or_notify_cancel():
                future.set_exception(EngineClosed())
        with self._changed:
            for request in left:
                self._end(request)


@dataclasses.dataclass(frozen=True)
class _Ticket:
    """What `Engine.submit` gives."""

    engine: Engine
    request: Answering

    def cancel(self) -> None:
        """Ends the request; see `neuraltuning.serving.engine_types.Ticket`."""
        self.engine._cancel(self.request)
