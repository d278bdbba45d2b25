"""The official client, unchanged, against a real server."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from neuraltuning.serving.api.app import create_app
from tests.serving.api.fake_engine import FakeEngine
from tests.serving.api.serving import data_url, png, service, serving

KEY = "a-key-of-the-test"


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def client(engine: FakeEngine) -> Iterator[openai.OpenAI]:
    with (
        serving(create_app(service(engine, body_bytes=100_000), key=KEY)) as address,
        openai.OpenAI(base_url=f"{address}/v1", api_key=KEY, max_retries=0) as made,
    ):
        yield made


def asked(text: str, picture: bytes | None = None) -> list[ChatCompletionMessageParam]:
    if picture is None:
        return [{"role": "user", "content": text}]
    content = data_url(picture)
    parts = [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": content}}]
    return [{"role": "user", "content": parts}]  # type: ignore[list-item,misc]


def test_a_reply(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(model="scenes", messages=asked("segment", png()), temperature=0, seed=1)
    message = reply.choices[0].message
    assert message.content == "The cat <OBJ> and the dog <OBJ>."
    assert message.objects[0]["bbox"] == [1.0, 1.0, 5.0, 2.0]  # type: ignore[attr-defined]
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage is not None and reply.usage.total_tokens == 18
    assert reply.usage.prompt_tokens_details is not None and reply.usage.prompt_tokens_details.cached_tokens == 4
    assert reply._request_id is not None and reply._request_id.startswith("req_")


def test_a_second_turn_with_the_first_ones_message(client: openai.OpenAI, engine: FakeEngine) -> None:
    messages = asked("segment", png())
    message = client.chat.completions.create(model="scenes", messages=messages).choices[0].message
    messages += [message, {"role": "user", "content": "Why?"}]  # type: ignore[list-item]
    assert (
        client.chat.completions.create(model="scenes", messages=messages).choices[0].message.content == "Why? after 1"
    )
    assert engine.queries[-1].earlier == (("segment", "The cat <OBJ> and the dog <OBJ>."),)


def test_a_stream(client: openai.OpenAI) -> None:
    text, usage = "", None
    objects: list[dict[str, Any]] = []
    stream = client.chat.completions.create(
        model="scenes", messages=asked("segment", png()), stream=True, stream_options={"include_usage": True}
    )
    for chunk in stream:
        for choice in chunk.choices:
            text += choice.delta.content or ""
            objects += getattr(choice.delta, "objects", [])
        usage = chunk.usage or usage
    assert text == "The cat <OBJ> and the dog <OBJ>."
    assert [found["index"] for found in objects] == [0, 1]
    assert usage is not None and usage.completion_tokens == 7


def test_the_clients_own_collector_of_a_stream(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model="scenes", messages=asked("segment", png())) as stream:
        assert stream.get_final_completion().choices[0].message.content == "The cat <OBJ> and the dog <OBJ>."


def test_pictures(client: openai.OpenAI) -> None:
    drawn = client.images.generate(prompt="Two dogs.", n=2, response_format="b64_json", extra_body={"seed": 3})
    assert drawn.data is not None
    assert [base64.b64decode(picture.b64_json or "")[:4] for picture in drawn.data] == [b"\x89PNG"] * 2
    assert drawn.usage is not None and drawn.usage.output_tokens == 10


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["scenes", "ada/words"]
    assert client.models.retrieve("ada/words").owned_by == "neuraltuning"


def test_errors_are_the_clients_own(client: openai.OpenAI, engine: FakeEngine) -> None:
    create = client.chat.completions.create
    with pytest.raises(openai.BadRequestError, match="temperature") as bad:
        create(model="scenes", messages=asked("a"), temperature=3)
    assert (bad.value.param, bad.value.code, bad.value.type) == (
        "temperature",
        "invalid_value",
        "invalid_request_error",
    )
    with pytest.raises(openai.NotFoundError, match="no model 'x'"):
        create(model="x", messages=asked("a"))
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong").models.list()
    with pytest.raises(openai.APIStatusError) as large:
        create(model="scenes", messages=asked("a" * 100_000))
    assert large.value.status_code == 413
    with pytest.raises(openai.InternalServerError, match="log says why"):
        create(model="scenes", messages=asked("fail"))
    with pytest.raises(openai.APIError, match="log says why"):
        list(create(model="scenes", messages=asked("fail"), stream=True))
    engine.room = 0
    with pytest.raises(openai.RateLimitError) as full:
        create(model="scenes", messages=asked("a"))
    assert full.value.response.headers["retry-after"] == "7"


def test_the_client_tries_again_when_a_place_is_free(client: openai.OpenAI, engine: FakeEngine) -> None:
    engine.room, engine.retry_after = 0, 1.0
    patient = client.with_options(max_retries=3)

    def free(*arguments: object) -> None:
        engine.room = 1

    engine.on_refused = free
    assert (
        patient.chat.completions.create(model="scenes", messages=asked("a")).choices[0].message.content == "a after 0"
    )
