"""Masks for callers who want nothing else."""

from __future__ import annotations

import base64
import io

from PIL import Image

from tests.serving.api.fake_engine import FakeEngine
from tests.serving.api.serving import Caller, data_url, error_of, png

URL = "/v1/segment"


def test_masks_of_a_picture(api: Caller, engine: FakeEngine) -> None:
    body = {"model": "scenes", "image": data_url(png(6, 4)), "text": "Please segment it.", "max_tokens": 9}
    found = api.post(URL, body).json()
    assert (found["object"], found["model"]) == ("segmentation", "scenes")
    assert (found["width"], found["height"], found["text"]) == (6, 4, "The cat <OBJ> and the dog <OBJ>.")
    assert [entry["area"] for entry in found["objects"]] == [10, 8]
    assert found["usage"]["total_tokens"] == 20
    assert engine.queries[0].max_new_tokens == 9


def test_masks_are_as_large_as_the_upright_picture(api: Caller) -> None:
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned
    Image.new("RGB", (6, 4)).save(file, "JPEG", exif=exif)
    body = {"model": "scenes", "image": data_url(file.getvalue(), "image/jpeg"), "text": "segment", "mask_png": True}
    found = api.post(URL, body).json()
    assert (found["width"], found["height"]) == (4, 6)
    assert found["objects"][0]["segmentation"]["size"] == [6, 4]
    assert Image.open(io.BytesIO(base64.b64decode(found["objects"][0]["mask_png"]))).size == (4, 6)


def test_a_model_without_masks_is_no_use(api: Caller) -> None:
    body = {"model": "ada/words", "image": data_url(png()), "text": "segment"}
    assert "segments nothing" in error_of(api.post(URL, body), 400)["message"]


def test_a_picture_is_needed(api: Caller) -> None:
    assert error_of(api.post(URL, {"model": "scenes", "text": "segment"}), 400)["param"] == "image"
