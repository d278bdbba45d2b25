"""Whatever is sent, the answer is a 4xx in OpenAI's shape, and the next request is answered."""

from __future__ import annotations

import base64
import io
import json
import random
import struct
import zlib
from typing import Any

import pytest
from PIL import Image

from neuraltuning.serving.api.app import create_app
from tests.serving.api.serving import Caller, chat, data_url, error_of, png, service

URL = "/v1/chat/completions"
PIXELS = 10_000


@pytest.fixture(scope="module")
def api() -> Caller:
    return Caller(create_app(service(body_bytes=200_000, pixels=PIXELS, new_tokens=100)))


def bomb() -> bytes:
    """A small PNG that says it has 20,000 x 20,000 pixels."""
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(100_000))), (b"IEND", b"")]
    chunks = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def animation() -> bytes:
    file = io.BytesIO()
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    return file.getvalue()


@pytest.mark.parametrize(
    "url",
    [
        "data:image/png;base64,@@@@",
        "data:image/png;base64,iVBORw0KGgo",
        "data:image/png;base64,",
        "data:image/png,iVBORw0KGgo",
        "data:image/png",
        "data:",
        "",
        data_url(png(), "text/html"),
        data_url(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"),
        data_url(b"%!PS-Adobe-3.0 EPSF-3.0\n", "image/png"),
        data_url(png()[:40]),
        data_url(bomb()),
        data_url(png(101, 100)),
        data_url(animation(), "image/gif"),
        "https://example.org/cat.png",
        "file:///etc/passwd",
        "/etc/passwd",
        "cat.png",
        "http://169.254.169.254/latest/meta-data",
    ],
)
def test_an_unusable_picture_is_refused(api: Caller, url: str) -> None:
    error = error_of(api.post(URL, chat("segment", url)), 400)
    assert (error["code"], error["param"]) == ("invalid_image", "messages.0.content.0.image_url.url")
    assert len(error["message"]) < 300
    assert (
        error_of(api.post("/v1/segment", {"model": "scenes", "text": "segment", "image": url}), 400)["param"] == "image"
    )


def test_the_largest_picture_is_taken(api: Caller) -> None:
    assert api.post(URL, chat("segment", data_url(png(100, 100)))).status_code == 200


@pytest.mark.parametrize("kind", ["image/png", "image/jpeg", "IMAGE/PNG", "image/png;charset=x"])
def test_a_pictures_content_decides_what_it_is(api: Caller, kind: str) -> None:
    assert api.post(URL, chat("segment", data_url(png(), kind))).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b'{"model": "scenes", "messages": [{"role": "user", "content": "\xff\xfe"}]}',
        b'{"model": "scenes", "messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"model": "scenes", "messages": [{"role": "user", "content": "a"}], "temperature": NaN}',
        b'{"model": "scenes", "messages": [{"role": "user", "content": "a"}], "temperature": Infinity}',
        b'{"model": "scenes", "messages": [{"role": "user", "content": "a"}], "temperature": 1e999}',
        b'{"model": "scenes", "messages": [{"role": "user", "content": "a"}], "seed": 1e999}',
        b'{"model": "scenes", "messages": [{"role": "user", "content": "a"}], "seed": ' + b"9" * 5000 + b"}",
        b'{"model": "scenes", "messages": [{"role": "user", "content": "a"}]} {}',
        b"[" * 50_000,
        b'{"model": ' * 10_000,
        b"[" * 150 + b"]" * 150,
        b"[" + b"{}," * 60_000 + b"{}]",
        json.dumps(chat()).encode("utf-16"),
    ],
)
def test_what_is_no_json_object_of_a_request_is_refused(api: Caller, body: bytes) -> None:
    error_of(api.request("POST", URL, content=body, headers={"content-type": "application/json"}), 400)


def test_a_body_that_is_too_large_is_refused_whatever_its_length_says(api: Caller) -> None:
    large = json.dumps(chat("x" * 200_000)).encode()

    async def pieces() -> Any:
        for start in range(0, len(large), 10_000):
            yield large[start : start + 10_000]

    headers = {"content-type": "application/json"}
    assert error_of(api.request("POST", URL, content=large, headers=headers), 413)["code"] == "request_too_large"
    assert error_of(api.request("POST", URL, content=pieces(), headers=headers), 413)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"n": 0}, "n"),
        ({"n": 5}, "n"),
        ({"n": 10**30}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 101}, "max_tokens"),
        ({"max_completion_tokens": 10**20}, "max_completion_tokens"),
        ({"max_tokens": "8"}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"stop": [1]}, "stop.0"),
        ({"stop": ""}, "stop"),
        ({"stream": "yes"}, "stream"),
        ({"messages": [{"role": "tool", "content": "a"}]}, "messages.0"),
        ({"messages": ["a"]}, "messages.0"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": None}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": []}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages.0.content.0"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages.0.content.0.image_url"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": 1}]}]}, "messages.0.content.0.text"),
        ({"messages": [{"role": "user", "content": "a"}] * 257}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}] * 65}]}, "messages.0.content"),
        ({"model": 3}, "model"),
    ],
)
def test_a_value_out_of_range_is_named(api: Caller, fields: dict[str, Any], param: str) -> None:
    assert error_of(api.post(URL, chat(**fields)), 400)["param"] == param


def test_an_unknown_model_is_not_found(api: Caller) -> None:
    for response in (
        api.post(URL, chat(model="gpt-4o")),
        api.get("/v1/models/gpt-4o"),
        api.post("/v1/segment", {"model": "x" * 1000, "text": "a", "image": data_url(png())}),
        api.post("/v1/images/generations", {"model": "../scenes", "prompt": "a"}),
    ):
        assert error_of(response, 404)["code"] == "model_not_found"


def test_unknown_addresses_and_methods(api: Caller) -> None:
    assert error_of(api.get("/v1/nothing"), 404)["type"] == "not_found_error"
    assert error_of(api.get("/v1/models/../../etc/passwd"), 404)
    assert error_of(api.post("/v1/segment/", {}), 404)
    response = api.get(URL)
    assert error_of(response, 405)
    assert response.headers["allow"] == "POST"


def test_bytes_of_pictures_never_break_the_server(api: Caller) -> None:
    generator = random.Random(0)
    whole = [encoded(kind) for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")]
    found = set()
    for _ in range(210):
        damaged = bytearray(generator.choice(whole))
        for _ in range(generator.choice((1, 4, 30))):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        del damaged[generator.choice((len(damaged), generator.randrange(1, len(damaged)))) :]
        response = api.post(URL, chat("segment", data_url(bytes(damaged))))
        found.add(response.status_code)
        if response.status_code != 200:  # some damage leaves a picture
            assert error_of(response, 400)["code"] == "invalid_image"
    assert found == {200, 400}


def encoded(kind: str) -> bytes:
    file = io.BytesIO()
    Image.effect_noise((24, 16), 60).convert("RGB").save(file, kind)
    return file.getvalue()


def test_bytes_of_json_never_break_the_server(api: Caller) -> None:
    generator = random.Random(0)
    whole = json.dumps(chat("segment", data_url(png()), stop=["a"], temperature=0.5, seed=3, tools=[])).encode()
    marks = [
        b'"',
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"\\",
        b"\\u0000",
        b"\\ud83d",
        b"\xc3",
        b"1e400",
        b"-",
        b"null",
        b"0",
    ]
    found = set()
    for _ in range(300):
        damaged = whole
        for _ in range(generator.choice((1, 1, 3))):
            start = generator.randrange(len(damaged))
            damaged = damaged[:start] + generator.choice([b"", *marks]) + damaged[start + generator.randrange(3) :]
        response = api.request("POST", URL, content=damaged, headers={"content-type": "application/json"})
        found.add(response.status_code)
        if response.status_code != 200:
            error_of(response, response.status_code)
    assert found <= {200, 400, 404}
    assert {200, 400} <= found


def test_values_of_wrong_types_never_break_the_server(api: Caller) -> None:
    """Every place of a request in turn holds every kind of value."""
    whole = chat("segment", data_url(png()), stop=["a"], stream_options={"include_usage": True}, tools=[])
    values: list[Any] = [
        None,
        True,
        -1,
        0.5,
        10**400,
        "",
        "a",
        "\x00",
        [],
        [[]],
        {},
        {"type": "text"},
        {"role": "user"},
    ]
    places = list(walk(whole))
    assert len(places) > 12
    for place in places:
        for value in values:
            response = api.post(URL, replaced(whole, place, value))
            if response.status_code != 200:
                error_of(response, 404 if place == ("model",) and isinstance(value, str) else 400)


def walk(value: Any, place: tuple[Any, ...] = ()) -> Any:
    """Every place in JSON."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*place, key)
        yield from walk(inner, (*place, key))


def replaced(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    """A copy with another value at a place."""
    if not place:
        return new
    copied = value.copy()
    copied[place[0]] = replaced(value[place[0]], place[1:], new)
    return copied


def test_base64_of_urls_is_refused(api: Caller) -> None:
    """Its other alphabet would else be dropped silently."""
    content = base64.urlsafe_b64encode(bytes(range(256))).decode()
    error_of(api.post(URL, chat("segment", f"data:image/png;base64,{content}")), 400)
