"""Chat completions: what the engine is asked, and what becomes of its events, at once and streamed."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from neuraltuning.data.records import decode_mask
from tests.serving.api.fake_engine import FakeEngine
from tests.serving.api.serving import Caller, chat, data_url, error_of, events_of, png

URL = "/v1/chat/completions"


def said(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


def test_a_reply_has_openais_fields(api: Caller) -> None:
    reply = api.post(URL, chat("What is it?")).json()
    assert reply["id"].startswith("chatcmpl-")
    assert (reply["object"], reply["model"]) == ("chat.completion", "scenes")
    assert reply["created"] > 1_700_000_000
    assert reply["usage"] == {
        "prompt_tokens": 13,
        "completion_tokens": 5,
        "total_tokens": 18,
        "prompt_tokens_details": {"cached_tokens": 4},
    }
    [choice] = reply["choices"]
    assert (choice["index"], choice["finish_reason"], choice["logprobs"]) == (0, "stop", None)
    assert choice["message"] == {
        "role": "assistant",
        "content": "What is it? after 0",
        "refusal": None,
        "objects": [],
        "images": [],
    }


def test_each_mask_stands_beside_the_text_in_cocos_terms(api: Caller) -> None:
    message = api.post(URL, chat("segment", data_url(png(6, 4)))).json()["choices"][0]["message"]
    assert message["content"] == "The cat <OBJ> and the dog <OBJ>."
    first, second = message["objects"]
    assert (first["index"], second["index"]) == (0, 1)
    mask = decode_mask(first["segmentation"]["counts"], (4, 6))
    assert first["segmentation"]["size"] == [4, 6]
    assert np.argwhere(mask).tolist() == [[y, x] for y in (1, 2) for x in range(1, 6)]
    assert (first["bbox"], first["area"], first["score"]) == ([1.0, 1.0, 5.0, 2.0], 10, 0.75)
    assert second["bbox"] == [2.0, 1.0, 4.0, 2.0]
    assert "mask_png" not in first


def test_masks_come_as_png_where_they_are_asked_for(api: Caller) -> None:
    message = api.post(URL, chat("segment", data_url(png()), mask_png=True)).json()["choices"][0]["message"]
    for found in message["objects"]:
        shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(found["mask_png"]))))
        assert (shown == decode_mask(found["segmentation"]["counts"], (4, 6))).all()


def test_a_drawn_picture_can_be_sent_back_as_it_came(api: Caller, engine: FakeEngine) -> None:
    message = api.post(URL, chat("draw a cat", seed=7)).json()["choices"][0]["message"]
    [drawn] = message["images"]
    assert drawn.pop("index") == 0
    content = [drawn, {"type": "text", "text": "What is it?"}]
    api.post(URL, chat(messages=[said("user", content)]))
    image = engine.queries[-1].image
    assert image is not None
    assert image.getpixel((0, 0)) == (7, 7, 7)


def test_the_engine_gets_what_was_asked(api: Caller, engine: FakeEngine) -> None:
    settings = {"temperature": 0.5, "top_p": 0.9, "seed": 3, "stop": [".", "!"], "max_completion_tokens": 20}
    api.post(URL, chat("What is it?", data_url(png(5, 3)), **settings))
    [query] = engine.queries
    assert (query.model, query.text, query.earlier) == ("scenes", "What is it?", ())
    assert query.image is not None
    assert (query.image.size, query.image.mode) == ((5, 3), "RGB")
    assert (query.temperature, query.top_p, query.seed, query.stop) == (0.5, 0.9, 3, (".", "!"))
    assert query.max_new_tokens == 20


@pytest.mark.parametrize("settings", [{}, dict.fromkeys(("temperature", "top_p", "seed", "stop", "max_tokens", "n"))])
def test_by_default_the_likeliest_words_are_taken(api: Caller, engine: FakeEngine, settings: dict[str, Any]) -> None:
    assert api.post(URL, chat(**settings)).status_code == 200
    [query] = engine.queries
    assert (query.temperature, query.top_p, query.seed, query.stop) == (0.0, 1.0, 0, ())
    assert query.max_new_tokens is None


def test_whole_numbers_may_be_written_with_a_point(api: Caller, engine: FakeEngine) -> None:
    api.post(URL, chat(max_tokens=8.0, seed=1.0))
    assert (engine.queries[0].max_new_tokens, engine.queries[0].seed) == (8, 1)


def test_a_probability_of_nothing_leaves_the_likeliest_word(api: Caller, engine: FakeEngine) -> None:
    api.post(URL, chat(temperature=1.0, top_p=0))
    assert (engine.queries[0].temperature, engine.queries[0].top_p) == (0.0, 1.0)


def test_earlier_turns_are_told_in_pairs(api: Caller, engine: FakeEngine) -> None:
    picture = {"type": "image_url", "image_url": {"url": data_url(png()), "detail": "high"}}
    reply = api.post(URL, chat(messages=[said("user", [picture, {"type": "text", "text": "segment"}])])).json()
    message = reply["choices"][0]["message"]
    messages = [
        said("user", [picture, {"type": "text", "text": "segment"}]),
        message,  # as it came, with its objects
        said("user", "And?"),
        said("assistant", [{"type": "text", "text": "Nothing."}]),
        said("user", [{"type": "text", "text": "Really?"}, {"type": "text", "text": "Why?"}, picture]),
    ]
    assert api.post(URL, chat(messages=messages)).status_code == 200
    query = engine.queries[-1]
    assert query.earlier == (("segment", "The cat <OBJ> and the dog <OBJ>."), ("And?", "Nothing."))
    assert query.text == "Really?\nWhy?"
    assert query.image is not None


def test_what_the_system_says_stands_before_the_users_text(api: Caller, engine: FakeEngine) -> None:
    messages = [
        said("system", "Be kind."),
        said("developer", [{"type": "text", "text": "Be brief."}]),
        said("user", "Who?"),
        said("assistant", "You."),
        said("user", "Me?"),
    ]
    api.post(URL, chat(messages=messages))
    assert engine.queries[0].earlier == (("Be kind.\nBe brief.\nWho?", "You."),)
    assert engine.queries[0].text == "Me?"


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([said("user", "a"), said("assistant", "b")], "messages"),
        ([said("system", "a")], "messages"),
        ([said("assistant", "a"), said("user", "b")], "messages.0"),
        ([said("user", "a"), said("assistant", "b"), said("assistant", "c"), said("user", "d")], "messages.2"),
        ([], "messages"),
    ],
)
def test_a_conversation_goes_in_turns_and_ends_with_the_user(api: Caller, messages: Any, param: str) -> None:
    assert error_of(api.post(URL, chat(messages=messages)), 400)["param"] == param


def test_a_conversation_is_about_one_picture(api: Caller) -> None:
    parts = [{"type": "image_url", "image_url": {"url": data_url(png(color=color))}} for color in ("red", "blue")]
    error = error_of(api.post(URL, chat(messages=[said("user", parts)])), 400)
    assert error["param"] == "messages.0.content.1.image_url.url"
    assert "one picture" in error["message"]


def test_what_asks_for_nothing_is_taken(api: Caller) -> None:
    harmless: dict[str, Any] = {
        "n": 1,
        "user": "ada",
        "metadata": {"a": "b"},
        "store": False,
        "service_tier": "auto",
        "safety_identifier": "x",
        "parallel_tool_calls": True,
        "tools": [],
        "tool_choice": "auto",
        "logprobs": False,
        "top_logprobs": 0,
        "frequency_penalty": 0,
        "presence_penalty": 0.0,
        "logit_bias": {},
        "response_format": {"type": "text"},
        "modalities": ["text"],
        "stream": False,
    }
    assert api.post(URL, chat(**harmless)).status_code == 200


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("tools", [{"type": "function"}], "call no tools"),
        ("tool_choice", "required", "call no tools"),
        ("response_format", {"type": "json_object"}, "forced into a form"),
        ("logprobs", True, "not given out"),
        ("frequency_penalty", 0.5, "not penalised"),
        ("logit_bias", {"50256": -100}, "likelier"),
        ("modalities", ["text", "audio"], "beside it"),
        ("n", 2, "another seed"),
        ("top_k", 5, "no such field"),
        ("temprature", 1, "no such field"),
    ],
)
def test_what_would_change_the_meaning_is_refused(api: Caller, field: str, value: Any, words: str) -> None:
    error = error_of(api.post(URL, chat(**{field: value})), 400)
    assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_value")
    assert error["param"].startswith(field)
    assert words in error["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_reply_does_not_fill_the_memory_with_masks(
    api: Caller, engine: FakeEngine, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neuraltuning.serving.api.service.MAX_MASK_BYTES", 6 * 4)  # one of two
    engine.pause = 0.05
    response = api.post(URL, chat("segment", data_url(png(6, 4)), stream=stream))
    error = events_of(response)[-1]["error"] if stream else error_of(response, 400)
    assert error["code"] == "too_many_masks"
    engine.wait_until_idle()
    assert engine.cancelled == 1


def test_a_stream_gives_each_piece_as_it_comes(api: Caller) -> None:
    events = events_of(api.post(URL, chat("segment", data_url(png()), stream=True)))
    assert events.pop() == "[DONE]"
    assert len({event["id"] for event in events}) == 1
    assert all(event["object"] == "chat.completion.chunk" and "usage" not in event for event in events)
    choices = [event["choices"][0] for event in events]
    assert [choice["finish_reason"] for choice in choices] == [None] * (len(choices) - 1) + ["stop"]
    deltas = [choice["delta"] for choice in choices]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert deltas[-1] == {}
    told = [delta.get("content") or [found["bbox"] for found in delta["objects"]] for delta in deltas[1:-1]]
    boxes = [[[1.0, 1.0, 5.0, 2.0]], [[2.0, 1.0, 4.0, 2.0]]]
    assert told == ["The cat", " <OBJ>", boxes[0], " and the dog", " <OBJ>", boxes[1], "."]


def test_a_stream_gives_pictures_and_usage(api: Caller) -> None:
    body = chat("draw", stream=True, stream_options={"include_usage": True})
    events = events_of(api.post(URL, body))
    assert events.pop() == "[DONE]"
    last = events.pop()
    assert (last["choices"], last["usage"]["total_tokens"]) == ([], 16)
    assert all(event["usage"] is None for event in events)
    [images] = [delta["images"] for event in events if "images" in (delta := event["choices"][0]["delta"])]
    assert images[0]["image_url"]["url"].startswith("data:image/png;base64,")


def test_what_fails_before_the_first_word_has_a_status_of_its_own(api: Caller) -> None:
    for stream in (False, True):
        assert error_of(api.post(URL, chat("refuse", stream=stream)), 400)["message"].startswith("The text can't")


def test_what_fails_in_a_stream_ends_it_with_an_error(api: Caller) -> None:
    *_, word, error = events_of(api.post(URL, chat("fail kindly", stream=True)))
    assert word["choices"][0]["delta"] == {"content": "Well"}
    assert error["error"]["message"] == "It needs a picture."


@pytest.mark.parametrize("stream", [False, True])
def test_what_nobody_foresaw_tells_nothing_of_itself(
    api: Caller, stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    response = api.post(URL, chat("fail", stream=stream))
    error = events_of(response)[-1]["error"] if stream else error_of(response, 500)
    assert error["type"] == "server_error"
    assert "secret" not in response.text and "Traceback" not in response.text
    assert "/secret/path" in caplog.text
    assert response.headers["x-request-id"] in caplog.text
