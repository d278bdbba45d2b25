"""The API on the real engine with tiny random models: over HTTP comes what the models reply when they are called."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest

from neuraltuning.data.records import decode_mask
from neuraltuning.model import MultitaskModel
from neuraltuning.reply import Reply
from neuraltuning.serving.api.app import create_app
from neuraltuning.serving.api.service import ModelCard, Service
from neuraltuning.serving.engine import Engine
from tests.serving.api.fake_engine import until
from tests.serving.api.serving import Caller, chat, data_url, error_of, events_of, png, service, serving
from tests.tiny_models import lively, model_settings

URL = "/v1/chat/completions"
TEXTS = ("Segment the red square.", "How many squares?", "What is it?", "Draw: Two squares.", "Two squares.")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, MultitaskModel]:
    """Two models that write words and task tokens at random, but always the same."""
    folder = tmp_path_factory.mktemp("models")
    return {
        name: lively(MultitaskModel.build(model_settings(folder)), seed) for name, seed in (("wild", 5), ("other", 6))
    }


@pytest.fixture(scope="module")
def served(models: dict[str, MultitaskModel]) -> Iterator[Service]:
    engine = Engine(models, max_batch=4, max_waiting=16)
    made = service(engine, places=20)
    made.open(engine, {name: ModelCard(name, 0, ("<OBJ>", "<GEN>")) for name in models})
    yield made
    engine.close(5.0)


@pytest.fixture(scope="module")
def api(served: Service) -> Caller:
    return Caller(create_app(served))


def asked(number: int, **more: Any) -> dict[str, Any]:
    """The body of one of several requests about pictures of several colors."""
    picture = data_url(png(40, 30, ("red", "blue", "white")[number % 3]))
    return chat(TEXTS[number % len(TEXTS)], picture, **{"model": "wild", "max_tokens": 24, **more})


def called(model: MultitaskModel, number: int) -> Reply:
    """What the model replies to that request."""
    from PIL import Image

    image = Image.new("RGB", (40, 30), ("red", "blue", "white")[number % 3])
    return model.reply(image, TEXTS[number % len(TEXTS)], max_new_tokens=24)


def matches(message: dict[str, Any], reply: Reply) -> None:
    """Checks that a message says what a reply does."""
    assert message["content"] == reply.text
    assert [found["index"] for found in message["objects"]] == list(range(len(reply.masks)))
    for found, mask, score, box in zip(message["objects"], reply.masks, reply.scores, reply.boxes, strict=True):
        assert (decode_mask(found["segmentation"]["counts"], (30, 40)) == mask).all()
        assert found["score"] == pytest.approx(float(score), abs=1e-5)
        assert found["bbox"] == box.tolist()
        assert found["area"] == mask.sum()
    assert len(message["images"]) == len(reply.images)


@pytest.mark.parametrize("model", ["wild", "other"])
def test_a_reply_is_the_models_own(api: Caller, models: dict[str, MultitaskModel], model: str) -> None:
    replies = [called(models[model], number) for number in range(5)]
    for number, reply in enumerate(replies):
        matches(api.post(URL, asked(number, model=model)).json()["choices"][0]["message"], reply)
    assert any(len(reply.masks) for reply in replies)


def test_a_stream_says_the_same(api: Caller, models: dict[str, MultitaskModel]) -> None:
    for number in range(5):
        *events, done = events_of(api.post(URL, asked(number, stream=True)))
        assert done == "[DONE]"
        deltas = [event["choices"][0]["delta"] for event in events]
        message: dict[str, Any] = {"content": "".join(delta.get("content", "") for delta in deltas)}
        for name in ("objects", "images"):
            message[name] = [found for delta in deltas for found in delta.get(name, [])]
        matches(message, called(models["wild"], number))


def test_replies_do_not_depend_on_what_else_is_asked(served: Service, api: Caller) -> None:
    def told(answer: httpx.Response) -> Any:
        assert answer.status_code == 200, answer.text
        return answer.json()["choices"][0]["message"]

    bodies = [asked(n, model=("wild", "other")[n % 2], temperature=(0, 0.9)[n % 3 == 0], seed=n) for n in range(16)]
    alone = [told(api.post(URL, body)) for body in bodies]
    with serving(create_app(served)) as address, ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda body: told(httpx.post(address + URL, json=body, timeout=60)), bodies))
    for one, other in zip(alone, together, strict=True):
        assert one["content"] == other["content"]
        assert one["images"] == other["images"]
        assert np.allclose([f["score"] for f in one["objects"]], [f["score"] for f in other["objects"]], atol=1e-4)


def test_usage_counts_the_picture_and_what_was_remembered(api: Caller, models: dict[str, MultitaskModel]) -> None:
    picture = data_url(png(33, 22, "green"))
    first, second = (
        api.post(URL, chat(text, picture, model="wild", max_tokens=4)).json()["usage"] for text in TEXTS[:2]
    )
    assert first["prompt_tokens"] > models["wild"].image_length
    assert first["prompt_tokens_details"]["cached_tokens"] == 0
    assert second["prompt_tokens_details"]["cached_tokens"] >= models["wild"].image_length
    assert first["completion_tokens"] <= 4
    assert first["total_tokens"] == first["prompt_tokens"] + first["completion_tokens"]


def test_a_conversation_longer_than_the_context_is_refused(api: Caller) -> None:
    for text in ("word " * 600, "word " * 100_000):
        error = error_of(api.post(URL, chat(text, model="wild")), 400)
        assert error["code"] == "context_length_exceeded"
    turns = [{"role": role, "content": "word " * 100} for _ in range(10) for role in ("user", "assistant")]
    error = error_of(
        api.post(URL, chat(model="wild", messages=[*turns, {"role": "user", "content": "Segment it."}])), 400
    )
    assert error["code"] == "context_length_exceeded"


def test_an_empty_text_is_refused(api: Caller) -> None:
    for text in ("", " \n"):
        assert "empty" in error_of(api.post(URL, chat(text, data_url(png()), model="wild")), 400)["message"]


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 1e-300},
        {"temperature": 2, "top_p": 1e-12},
        {"temperature": 2, "top_p": 1.0, "seed": 2**63 - 1},
        {"stop": ["\x00", "\ud7ff", " ", "<OBJ>"]},
        {"max_tokens": 1},
    ],
)
def test_extreme_settings_are_answered(api: Caller, settings: dict[str, Any]) -> None:
    assert api.post(URL, asked(0, **settings)).status_code == 200


def test_a_text_of_strange_letters_is_answered(api: Caller) -> None:
    text = "\x00\u200d\U0001f984 <OBJ><<GEN>GEN> </s><s>"
    assert api.post(URL, chat(text, data_url(png()), model="wild", max_tokens=8)).status_code == 200


def test_a_mask_without_a_picture_is_the_askers_mistake(api: Caller) -> None:
    codes = {api.post(URL, chat(text, model="wild", max_tokens=24)).status_code for text in TEXTS}
    assert codes == {400, 200} or codes == {400}
    assert error_of(api.post(URL, chat(TEXTS[0], model="wild")), 400)["code"] is None


def test_a_client_that_goes_away_frees_the_engine(served: Service) -> None:
    with serving(create_app(served)) as address:
        with httpx.stream("POST", address + URL, json=asked(0, stream=True, max_tokens=300)) as response:
            next(response.iter_lines())
        until(lambda: served.statistics().running == 0 and served.gate.taken == 0)


def test_every_endpoint_answers_with_a_real_model(api: Caller) -> None:
    body = {"model": "wild", "image": data_url(png(40, 30)), "text": TEXTS[0], "max_tokens": 16}
    found = api.post("/v1/segment", body).json()
    assert (found["width"], found["height"]) == (40, 30)
    drawn = api.post("/v1/images/generations", {"model": "wild", "prompt": "Two squares.", "n": 2})
    assert drawn.status_code == 200 or error_of(drawn, 400)
    assert "neuraltuning_engine_steps_total" in api.get("/metrics").text
