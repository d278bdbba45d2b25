"""The engine's queue, places, caches and end: what is bounded, freed, remembered and counted."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from neuraltuning.errors import InputError
from neuraltuning.model import MultitaskModel
from neuraltuning.serving.engine import Engine
from neuraltuning.serving.engine_types import EngineClosed, Failed, Finished, QueueFull, TextPiece, Ticket
from tests.serving.asking import IMAGES, Heard, alone, ask, chat, same, until

Start = Callable[..., Engine]


class Gate:
    """Holds a model's passes back until they are let through."""

    def __init__(self, model: MultitaskModel, monkeypatch: pytest.MonkeyPatch) -> None:
        self.passes = 0
        self.positions = 0
        self.encoded = 0
        self._open = threading.Semaphore(0)
        self._always = threading.Event()
        run, encode = model.hidden_states, model.encoder.forward

        def passing(embeds: torch.Tensor, **arguments: Any) -> Any:
            while not self._always.is_set():
                if self._open.acquire(timeout=0.01):
                    break
            self.passes += 1
            self.positions += embeds.shape[0] * embeds.shape[1]
            return run(embeds, **arguments)

        def encoding(pixels: torch.Tensor, **asked: bool) -> Any:
            self.encoded += len(pixels)
            return encode(pixels, **asked)

        monkeypatch.setattr(model, "hidden_states", passing)
        monkeypatch.setattr(model.encoder, "forward", encoding)

    def let(self, passes: int) -> None:
        """Lets so many passes through, and waits for them."""
        wanted = self.passes + passes
        for _ in range(passes):
            self._open.release()
        until(lambda: self.passes >= wanted)

    def open(self) -> None:
        """Lets everything through from now on."""
        self._always.set()


@pytest.fixture
def gate(wild: MultitaskModel, monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(wild, monkeypatch)


def test_a_full_queue_refuses_and_says_when_to_come_back(wild: MultitaskModel, start: Start, gate: Gate) -> None:
    engine = start(wild, max_batch=1, max_waiting=2)
    heard = [Heard() for _ in range(3)]
    engine.submit(chat(0), heard[0])
    until(lambda: engine.statistics().running == 1)
    for one in heard[1:]:
        engine.submit(chat(1), one)
    with pytest.raises(QueueFull) as caught:
        engine.submit(chat(2), Heard())
    assert 1.0 <= caught.value.retry_after <= 60.0
    counted = engine.statistics()
    assert (counted.running, counted.waiting, counted.refused) == (1, 2, 1)
    gate.open()
    for one in heard:
        assert one.finished
    [after] = ask(engine, [chat(2)])
    assert after.finished


def test_without_a_queue_requests_still_find_free_places(wild: MultitaskModel, start: Start, gate: Gate) -> None:
    engine = start(wild, max_batch=2, max_waiting=0)
    heard = [Heard(), Heard()]
    for one in heard:
        engine.submit(chat(0), one)
    with pytest.raises(QueueFull):
        engine.submit(chat(2), Heard())
    gate.open()
    assert all(one.finished for one in heard)


def test_a_cancelled_request_frees_its_place_before_the_next_step(
    wild: MultitaskModel, start: Start, gate: Gate
) -> None:
    engine = start(wild, max_batch=1, max_waiting=3)
    first, waiting, last = Heard(), Heard(), Heard()
    running = engine.submit(chat(0, max_new_tokens=40), first)
    until(lambda: engine.statistics().running == 1)
    gate.let(4)
    queued = engine.submit(chat(1), waiting)
    engine.submit(chat(2, max_new_tokens=1), last)
    queued.cancel()
    assert engine.statistics().waiting == 1  # at once, no step is needed
    running.cancel()
    told = len(first.events)
    gate.let(1)  # the step under way
    gate.let(1)  # the next pass is the other request's
    assert last.finished
    until(lambda: engine.statistics().running == 0)
    assert len(first.events) == told
    assert waiting.events == []
    running.cancel()  # harmless
    queued.cancel()
    counted = engine.statistics()
    assert (counted.cancelled, counted.finished, counted.running, counted.waiting) == (2, 1, 0, 0)


def test_a_reply_that_a_listener_cancels_goes_no_further(wild: MultitaskModel, start: Start) -> None:
    engine = start(wild)
    events: list[object] = []
    tickets: list[Ticket] = []

    def listener(event: object) -> None:
        events.append(event)
        if len(events) == 2:
            tickets[0].cancel()

    with engine._changed:  # the ticket is there before the first event
        tickets.append(engine.submit(chat(0, max_new_tokens=40), listener))
    until(lambda: engine.statistics().cancelled == 1)
    [other] = ask(engine, [chat(1)])
    assert other.finished
    assert len(events) == 2


def test_closing_answers_what_is_there_and_refuses_more(wild: MultitaskModel, start: Start, gate: Gate) -> None:
    engine = start(wild, max_batch=1)
    heard = [Heard(), Heard()]
    for number, one in enumerate(heard):
        engine.submit(chat(number), one)
    closing = threading.Thread(target=engine.close, args=(60.0,))
    closing.start()
    until(lambda: engine._deadline is not None)
    with pytest.raises(EngineClosed):
        engine.submit(chat(2), Heard())
    with pytest.raises(EngineClosed):
        engine.run("m0", lambda model: None)
    gate.open()
    closing.join(60.0)
    assert not closing.is_alive()
    for one in heard:
        assert one.finished
    engine.close(1.0)  # twice is harmless


def test_what_is_not_answered_in_time_fails(wild: MultitaskModel, start: Start, gate: Gate) -> None:
    engine = start(wild, max_batch=1)
    heard = [Heard(), Heard()]
    for number, one in enumerate(heard):
        engine.submit(chat(number, max_new_tokens=40), one)
    until(lambda: engine.statistics().running == 1)
    future = engine.run("m0", lambda model: 1)
    closing = threading.Thread(target=engine.close, args=(0.05,))
    closing.start()
    time.sleep(0.1)
    gate.open()  # the pass under way is the last one
    closing.join(60.0)
    assert not closing.is_alive()
    for one in heard:
        assert isinstance(one.error, EngineClosed)
    assert isinstance(future.exception(1.0), EngineClosed)
    counted = engine.statistics()
    assert (counted.failed, counted.running, counted.waiting) == (2, 0, 0)


def test_a_model_is_lent_between_steps(wild: MultitaskModel, start: Start, gate: Gate) -> None:
    engine = start(wild)
    one = Heard()
    engine.submit(chat(0, max_new_tokens=40), one)
    until(lambda: engine.statistics().running == 1)
    future = engine.run("m0", lambda model: (model is wild, threading.current_thread().name))
    failing = engine.run("m0", lambda model: 1 // 0)
    unwanted = engine.run("m0", lambda model: 1)
    assert unwanted.cancel()
    gate.let(3)
    assert future.result(60.0) == (True, "engine")
    assert not one.over.is_set()
    with pytest.raises(ZeroDivisionError):
        failing.result(60.0)
    with pytest.raises(CancelledError):
        unwanted.result(1.0)
    with pytest.raises(InputError, match="There is no model named"):
        engine.run("m9", lambda model: None)
    gate.open()
    same(one.finished.reply, alone(wild, chat(0, max_new_tokens=40)))


def test_a_second_question_about_an_image_reads_only_the_question(
    wild: MultitaskModel, start: Start, gate: Gate
) -> None:
    gate.open()
    engine = start(wild)
    first, second = chat(0, max_new_tokens=1), chat(3, max_new_tokens=1, image=IMAGES[0].copy())
    [one] = ask(engine, [first])
    read = gate.positions
    assert gate.encoded == 1
    [two] = ask(engine, [second])
    assert gate.encoded == 1
    before = wild.image_length + 1
    assert one.finished.cached_tokens == 0
    assert two.finished.cached_tokens == before
    question = len(wild.format.prompt_ids(second.text))
    assert question <= gate.positions - read < question + before
    same(two.finished.reply, alone(wild, second))
    counted = engine.statistics()
    assert (counted.image_hits, counted.image_misses) == (1, 1)
    assert (counted.prefix_hits, counted.prefix_misses) == (1, 1)
    assert counted.cached_tokens == before
    assert counted.cache_bytes > 0


def test_questions_about_one_image_that_come_together_read_it_once(
    wild: MultitaskModel, start: Start, gate: Gate
) -> None:
    gate.open()
    engine = start(wild)
    queries = [chat(n, image=IMAGES[1]) for n in range(6)]
    heard = ask(engine, queries)
    assert gate.encoded == 1
    assert sum(one.finished.cached_tokens == 0 for one in heard) == 1
    for one, query in zip(heard, queries, strict=True):
        same(one.finished.reply, alone(wild, query))


@pytest.mark.parametrize("cache_bytes", [0, 60_000])
def test_the_memory_for_images_is_bounded(wild: MultitaskModel, start: Start, gate: Gate, cache_bytes: int) -> None:
    gate.open()
    engine = start(wild, cache_bytes=cache_bytes)
    images = [Image.new("RGB", (20, 20), (40 * n, 0, 0)) for n in range(5)]
    queries = [chat(n, image=images[n % 5], max_new_tokens=2) for n in range(10)]
    for query in queries:
        [one] = ask(engine, [query])
        assert engine.statistics().cache_bytes <= cache_bytes
        same(one.finished.reply, alone(wild, query))
    assert gate.encoded > 5


def test_hundreds_of_requests_leave_nothing_behind(wild: MultitaskModel, start: Start) -> None:
    """Finished, failed, cancelled and stopped ones: neither tensors nor requests stay."""
    engine = start(wild, max_batch=4, max_waiting=1000, cache_bytes=200_000)
    rng = np.random.default_rng(0)

    def some(n: int) -> None:
        heard, tickets = [], []
        for number in range(n):
            one = Heard()
            image = None if number % 7 == 3 else IMAGES[number % 3]
            longest = int(rng.integers(1, 9))
            query = chat(number, image=image, max_new_tokens=longest, temperature=float(number % 2), seed=number)
            ticket = engine.submit(query, one)
            if rng.random() < 0.25:
                tickets.append(ticket)
            else:
                heard.append(one)
            if tickets and rng.random() < 0.3:
                tickets.pop().cancel()
        for ticket in tickets:
            ticket.cancel()
        for one in heard:
            one.wait()
        until(lambda: engine.statistics().running + engine.statistics().waiting == 0)

    def living() -> tuple[int, int]:
        gc.collect()
        # Tensors with numbers in them: what an export left in this process has shapes of symbols alone.
        tensors = [thing for thing in gc.get_objects() if type(thing) in (torch.Tensor, torch.nn.Parameter)]
        return len(tensors), sum(t.numel() for t in tensors)

    some(60)
    before = living()
    some(440)
    tensors, numbers = living()
    assert tensors <= before[0] + 5  # what the last pass left is as long as that pass
    assert numbers <= 1.05 * before[1]
    counted = engine.statistics()
    assert counted.finished + counted.failed + counted.cancelled == 500
    assert min(counted.finished, counted.failed, counted.cancelled) > 3  # some of each; how many depends on the threads


def test_events_of_a_request_come_from_one_thread_in_order(wild: MultitaskModel, start: Start) -> None:
    engine = start(wild)
    names: list[str] = []
    over = threading.Event()

    def listener(event: object) -> None:
        names.append(threading.current_thread().name)
        if isinstance(event, (Finished, Failed)):
            over.set()
        else:
            assert not over.is_set()

    engine.submit(chat(0, max_new_tokens=30), listener)
    assert over.wait(60.0)
    assert set(names) == {"engine"}


def test_requests_may_come_from_many_threads(wild: MultitaskModel, start: Start) -> None:
    engine = start(wild)
    wrong: list[object] = []
    expected = {n: alone(wild, chat(n)).text for n in range(6)}

    def client(offset: int) -> None:
        for n in range(offset, offset + 5):
            [one] = ask(engine, [chat(n % 6, image=IMAGES[n % 6 % 3], max_new_tokens=5 + 7 * (n % 6 % 4))])
            if one.finished.reply.text != expected[n % 6]:
                wrong.append(one)
            if not any(isinstance(event, TextPiece) for event in one.events) and one.text:
                wrong.append(one)

    threads = [threading.Thread(target=client, args=(k,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60.0)
    assert wrong == []
    until(lambda: engine.statistics().finished == 30)


def test_no_thread_outlives_the_engine(wild: MultitaskModel, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of torch's that runs when the interpreter ends aborts the process."""
    [drawer] = [decoder for decoder in map(wild.decoder, wild.decoders) if not decoder.about_input]
    draw, begun = drawer.decode, threading.Event()

    def slowly(*args: object) -> object:
        begun.set()
        time.sleep(0.3)
        return draw(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(drawer, "decode", slowly)
    engine = start(wild, max_batch=8)
    for n in range(60):
        engine.submit(chat(0, text=f"Draw: {n} squares.", max_new_tokens=24, seed=n), Heard())
    assert begun.wait(30)
    engine.close(0.0)
    assert not {"engine", "drawer"} & {thread.name for thread in threading.enumerate()}
