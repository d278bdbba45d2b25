"""Image generation in OpenAI's form."""

from __future__ import annotations

import base64
import io
from typing import Any

import pytest
from PIL import Image

from neuraltuning.serving.api.app import create_app
from tests.serving.api.fake_engine import FakeEngine
from tests.serving.api.serving import Caller, error_of, service

URL = "/v1/images/generations"


def test_each_picture_has_a_seed_of_its_own(api: Caller, engine: FakeEngine) -> None:
    drawn = api.post(URL, {"prompt": "Two dogs.", "n": 3, "seed": 5}).json()
    pictures = [Image.open(io.BytesIO(base64.b64decode(picture["b64_json"]))) for picture in drawn["data"]]
    assert [picture.getpixel((0, 0)) for picture in pictures] == [(shade,) * 3 for shade in (5, 6, 7)]
    assert (drawn["size"], drawn["output_format"]) == ("8x8", "png")
    assert drawn["usage"]["input_tokens"] == 3 * 15
    assert {query.text for query in engine.queries} == {"Draw a picture: Two dogs."}
    assert {query.model for query in engine.queries} == {"scenes"}  # the first that draws


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": "url"}, "response_format"),
        ({"n": 0}, "n"),
        ({"n": 11}, "n"),
        ({"size": "1024x1024"}, "size"),
        ({"stream": True}, "stream"),
        ({"output_format": "jpeg"}, "output_format"),
        ({"prompt": ""}, "prompt"),
        ({"seed": -1}, "seed"),
        ({"model": "ada/words"}, "model"),
    ],
)
def test_what_can_not_be_had_is_refused(api: Caller, fields: dict[str, Any], param: str) -> None:
    assert error_of(api.post(URL, {"prompt": "A dog.", **fields}), 400)["param"] == param


def test_a_reply_without_a_picture_is_told_as_an_error(api: Caller) -> None:
    error = error_of(api.post(URL, {"prompt": "segment"}), 400)
    assert error["code"] == "no_picture"
    assert "The cat <OBJ>" in error["message"]


def test_pictures_that_find_no_place_free_the_others(engine: FakeEngine) -> None:
    engine.room, engine.pause = 2, 0.05
    response = Caller(create_app(service(engine))).post(URL, {"prompt": "A dog.", "n": 3})
    assert error_of(response, 429)["code"] == "queue_full"
    assert response.headers["retry-after"] == "7"
    engine.wait_until_idle()
    assert engine.cancelled == 2
