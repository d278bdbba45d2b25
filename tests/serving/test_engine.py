"""The engine's replies: those that each request gets alone, as events, whatever else is answered at the time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from neuraltuning.errors import InputError
from neuraltuning.generate import generate, opening
from neuraltuning.model import MAX_NEW_TOKENS, MultitaskModel
from neuraltuning.serving.engine import Engine
from neuraltuning.serving.engine_types import Failed
from tests.serving.asking import IMAGES, Heard, alone, ask, chat, check_events, lively_writer, same, texts, until
from tests.tiny_models import FAMILIES, model_settings

Start = Callable[..., Engine]


@pytest.fixture(scope="module", params=["llama", "qwen2", "gpt2", "gemma3_text"])
def model(request: pytest.FixtureRequest, parts: Path) -> MultitaskModel:
    """Grouped and plain attention, learned positions, and sliding windows."""
    assert request.param in FAMILIES
    return lively_writer(MultitaskModel.build(model_settings(parts, request.param)))


@pytest.mark.parametrize("seed", range(3))
def test_replies_are_those_of_each_request_alone(model: MultitaskModel, start: Start, seed: int) -> None:
    """However they arrive, and whoever goes away meanwhile."""
    rng = np.random.default_rng(seed)
    engine = start(model, max_batch=int(rng.integers(2, 6)))
    heard: list[tuple[int, Heard]] = []
    given_up = []
    for number in rng.permutation(14).tolist():
        one = Heard()
        ticket = engine.submit(chat(number), one)
        if rng.random() < 0.3:
            given_up.append((ticket, one))
        else:
            heard.append((number, one))
        time.sleep(float(rng.choice([0.0, 0.0, 0.01, 0.04])))
        if given_up and rng.random() < 0.5:
            given_up[int(rng.integers(len(given_up)))][0].cancel()
    for ticket, _ in given_up:
        ticket.cancel()
    for number, one in heard:
        same(one.finished.reply, alone(model, chat(number)))
        check_events(one)
    assert len(set(texts([one for _, one in heard]))) > 3
    until(lambda: engine.statistics().running == 0)
    counted = engine.statistics()
    assert (counted.failed, counted.waiting) == (0, 0)
    assert counted.finished + counted.cancelled == 14
    assert counted.finished >= len(heard)


def test_masks_come_while_the_reply_goes_on(wild: MultitaskModel, start: Start) -> None:
    [one] = ask(start(wild), [chat(0, max_new_tokens=40)])
    check_events(one)
    kinds = [type(event).__name__ for event in one.events]
    assert "TextPiece" in kinds[kinds.index("MaskFound") :]
    assert kinds.count("MaskFound") == len(one.finished.reply.masks) > 1
    assert kinds.index("MaskFound") < len(kinds) // 2


def test_lengths_and_reasons_are_told(wild: MultitaskModel, start: Start) -> None:
    engine = start(wild)
    heard = ask(engine, [chat(n % 6, max_new_tokens=n + 1) for n in range(12)])
    reasons = set()
    for n, one in enumerate(heard):
        finished = one.finished
        assert finished.completion_tokens <= n + 1
        assert finished.finish_reason == ("length" if finished.completion_tokens == n + 1 else "stop")
        assert finished.prompt_tokens == len(wild.format.prompt_ids(chat(n).text)) + wild.image_length + 1
        reasons.add(finished.finish_reason)
    assert "length" in reasons
    counted = engine.statistics()
    assert counted.completion_tokens == sum(one.finished.completion_tokens for one in heard)
    assert counted.prompt_tokens == sum(one.finished.prompt_tokens for one in heard)
    [default] = ask(engine, [chat(0, max_new_tokens=None)])
    assert default.finished.completion_tokens <= MAX_NEW_TOKENS


def test_a_stop_text_ends_a_reply_and_its_place_is_free(wild: MultitaskModel, start: Start) -> None:
    engine = start(wild, max_batch=1)
    whole = alone(wild, chat(0, max_new_tokens=40))
    first = whole.text.index("<OBJ>") + len("<OBJ>")
    stop = next(
        whole.text[first : first + n] for n in range(3, 30) if whole.text.find(whole.text[first : first + n]) == first
    )
    [cut, behind, before] = ask(
        engine, [chat(0, max_new_tokens=40, stop=(stop,)), chat(1), chat(0, max_new_tokens=40, stop=("<OBJ>",))]
    )
    for one, masks in ((cut, 1), (before, 0)):
        check_events(one)
        finished = one.finished
        assert finished.finish_reason == "stop"
        assert whole.text.startswith(finished.reply.text)
        assert len(finished.reply.masks) == masks
        assert finished.completion_tokens < 40
    assert stop not in cut.text
    assert cut.finished.reply.text == whole.text[: whole.text.index(stop)]
    same(behind.finished.reply, alone(wild, chat(1)))


def test_a_mask_whose_token_belongs_to_the_stop_text_is_not_given_out(wild: MultitaskModel, start: Start) -> None:
    whole = alone(wild, chat(0, max_new_tokens=40))
    place = whole.text.index("<OBJ>")
    [one] = ask(start(wild), [chat(0, max_new_tokens=40, stop=(whole.text[place : place + 9],))])
    check_events(one)
    assert one.finished.reply.text == whole.text[:place]
    assert len(one.finished.reply.masks) == 0
    assert "<OBJ>" not in one.finished.reply.decoded


def test_drawn_words_follow_the_seed_and_nothing_else(wild: MultitaskModel, start: Start) -> None:
    queries = [chat(n % 3, temperature=1.5, top_p=0.9, seed=n // 3, max_new_tokens=16) for n in range(9)]
    engine = start(wild, max_batch=3)
    together = texts(ask(engine, queries))
    backwards = texts(ask(engine, queries[::-1]))[::-1]
    single = [texts(ask(engine, [query]))[0] for query in queries]
    assert together == backwards == single
    assert len(set(together)) == 9
    assert texts(ask(engine, [replace(queries[0], temperature=0.0)])) == [alone(wild, queries[0]).text]


def test_pictures_are_drawn_beside_the_steps(wild: MultitaskModel, start: Start) -> None:
    candidates = (
        chat(0, image=IMAGES[n % 3], text=f"Draw: {n} squares.", max_new_tokens=24, seed=n) for n in range(60)
    )
    queries = list(islice((query for query in candidates if alone(wild, query).images), 3))
    assert len(queries) == 3
    for one, query in zip(ask(start(wild), queries), queries, strict=True):
        check_events(one)
        same(one.finished.reply, alone(wild, query))


def test_a_request_that_cannot_be_answered_fails_alone(wild: MultitaskModel, start: Start) -> None:
    engine = start(wild, max_batch=4)
    good = [chat(n) for n in range(6)]
    bad = [chat(n, image=None, max_new_tokens=60) for n in range(6)]
    heard = ask(engine, [query for pair in zip(good, bad, strict=True) for query in pair])
    for one, query in zip(heard[::2], good, strict=True):
        same(one.finished.reply, alone(wild, query))
    failures = [one for one in heard[1::2] if isinstance(one.wait(), Failed)]
    assert failures
    for one in failures:
        assert isinstance(one.error, InputError)
        assert "no image was given" in str(one.error)
    until(lambda: engine.statistics().running == 0)
    assert engine.statistics().failed == len(failures)


def test_an_image_that_the_encoder_fails_on_is_its_requests_affair(
    wild: MultitaskModel, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    preprocess = wild.encoder.preprocess

    def fussy(images: list) -> torch.Tensor:
        if images[0].size == (30, 30):
            raise ValueError("not that one")
        return preprocess(images)

    monkeypatch.setattr(wild.encoder, "preprocess", fussy)
    heard = ask(start(wild), [chat(n) for n in range(6)])
    assert [isinstance(one.wait(), Failed) for one in heard] == [False, False, True] * 2


def test_a_pass_that_fails_fails_those_in_it_and_the_engine_goes_on(
    wild: MultitaskModel, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = start(wild, max_batch=2)
    run, failing = wild.hidden_states, [True]

    def sometimes(*args: object, **arguments: object) -> object:
        if failing:
            raise RuntimeError("out of memory")
        return run(*args, **arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(wild, "hidden_states", sometimes)
    heard = ask(engine, [chat(0), chat(1)])
    assert [str(one.error) for one in heard] == ["out of memory"] * 2
    failing.clear()
    [after] = ask(engine, [chat(0)])
    monkeypatch.undo()
    same(after.finished.reply, alone(wild, chat(0)))


def test_a_listener_that_raises_ends_its_request_alone(wild: MultitaskModel, start: Start) -> None:
    engine = start(wild)
    calls = []

    def broken(event: object) -> None:
        calls.append(event)
        raise OSError("gone")

    engine.submit(chat(0, max_new_tokens=40), broken)
    [other] = ask(engine, [chat(1)])
    same(other.finished.reply, alone(wild, chat(1)))
    until(lambda: engine.statistics().running == 0)
    assert len(calls) == 1
    assert engine.statistics().cancelled == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"text": " \n"}, "The text is empty"),
        ({"model": "m7"}, "There is no model named 'm7'; there is m0."),
        ({"temperature": -0.1}, "The temperature is -0.1"),
        ({"temperature": float("nan")}, "The temperature is nan"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"top_p": 1.1}, "top_p is 1.1"),
        ({"max_new_tokens": 0}, "The longest reply is 0 tokens"),
        ({"seed": -1}, "The seed is -1"),
        ({"stop": ("a", "")}, "A stop text is empty"),
        ({"text": "blue " * 495}, "tokens, those of its image among them, and the reply may have 5 more; the model"),
        ({"text": "x" * 1_000_000}, "The conversation has 1,000,000 characters"),
        ({"text": "Mark it.", "earlier": (("blue " * 240, "red"), ("blue " * 240, "red"))}, "leave out earlier turns"),
        ({"max_new_tokens": 500}, "or ask for a shorter reply"),
    ],
)
def test_unusable_requests_are_refused_at_once(wild: MultitaskModel, start: Start, changes: dict, said: str) -> None:
    engine = start(wild)
    with pytest.raises(InputError) as caught:
        engine.submit(chat(0, **changes), Heard())
    assert said in str(caught.value)
    assert len(str(caught.value)) < 300
    assert engine.statistics().waiting == 0


def test_a_conversation_that_just_fits_is_answered(model: MultitaskModel, start: Start) -> None:
    engine = start(model)
    room = 512 - len(opening(model, image=True)) - 4
    longest = next(n for n in range(600, 0, -1) if len(model.format.prompt_ids("blue " * n)) <= room)
    query = chat(0, text="blue " * longest, max_new_tokens=4)
    [one] = ask(engine, [query])
    assert 512 - 3 <= one.finished.prompt_tokens + 4 <= 512
    with pytest.raises(InputError, match=r"has room for 512\."):
        engine.submit(replace(query, text="blue " * (longest + 1)), Heard())


def test_a_long_text_is_read_in_parts_while_others_are_answered(model: MultitaskModel, start: Start) -> None:
    long = chat(0, text="blue square red " * 120, max_new_tokens=6)
    engine = start(model)
    assert 256 < len(model.format.prompt_ids(long.text)) < 460
    queries = [chat(1), long, chat(2), replace(long, image=IMAGES[1])]
    for one, query in zip(ask(engine, queries), queries, strict=True):
        same(one.finished.reply, alone(model, query))


def test_earlier_turns_stand_before_the_last_one_as_in_training(model: MultitaskModel, start: Start) -> None:
    earlier = (("How many squares?", "2"), ("Find the red square.", "The red square <OBJ>."))
    engine = start(model, earlier="always")
    for image in (IMAGES[0], None):
        query = chat(1, earlier=earlier, image=image, max_new_tokens=4)
        words = model.format
        turns = [[*words.prompt_ids(asked), *words.reply_ids(reply)] for asked, reply in earlier]
        prompt = [*turns[0], *turns[1], *words.prompt_ids(query.text)]
        seen = None if image is None else model.see(model.encoder.preprocess([image]))[1]
        with torch.no_grad():
            generated = generate(model, [prompt], seen, torch.tensor([-1 if image is None else 0]), [4])
        if image is None and "mask" in generated.tokens:
            continue
        [one] = ask(engine, [query])
        assert one.finished.reply.text == words.text(generated.ids[0])
        assert one.finished.prompt_tokens == len(prompt) + len(opening(model, image=image is not None))
        assert len(one.finished.reply.masks) == one.finished.reply.text.count("<OBJ>")  # of this reply alone


def test_earlier_turns_are_read_where_the_text_refers_to_them(wild: MultitaskModel, start: Start) -> None:
    earlier = (("Find the red square.", "The red square <OBJ>."),)
    lengths = {}
    for setting in ("referred", "always", "never"):
        queries = [chat(0, text=text, earlier=earlier, max_new_tokens=2) for text in ("Mark it.", "Mark the square.")]
        heard = ask(start(wild, earlier=setting), queries)
        lengths[setting] = [one.finished.prompt_tokens for one in heard]
    own = [len(opening(wild, True)) + len(wild.format.prompt_ids(text)) for text in ("Mark it.", "Mark the square.")]
    assert lengths["never"] == own
    assert lengths["referred"][1] == own[1]
    assert lengths["referred"][0] == lengths["always"][0] > own[0]
    assert lengths["always"][1] > own[1]
