"""Places of a real server: a full one refuses, a client that goes away frees its own, a closed one finishes."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from neuraltuning.serving.api.app import create_app
from neuraltuning.serving.api.service import Service
from tests.serving.api.fake_engine import FakeEngine, until
from tests.serving.api.serving import Caller, chat, data_url, error_of, png, service, serving

URL = "/v1/chat/completions"


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(pause=0.2)


@pytest.fixture
def small(engine: FakeEngine) -> Service:
    """A service with two places, and half a second for a request's body."""
    return service(engine, places=2, upload_seconds=0.5)


@pytest.fixture
def address(small: Service) -> Iterator[str]:
    with serving(create_app(small)) as started:
        yield started


def body(text: str = "segment", **more: Any) -> bytes:
    return json.dumps(chat(text, data_url(png()), **more)).encode()


def connection_to(address: str) -> socket.socket:
    place = urlsplit(address)
    assert place.hostname and place.port
    return socket.create_connection((place.hostname, place.port), timeout=10)


def request_of(content: bytes, *, length: int | None = None) -> bytes:
    """A request's bytes; `length`: what it says of its body."""
    head = f"POST {URL} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content) if length is None else length}\r\n\r\n".encode() + content


def read_until(connection: socket.socket, mark: bytes) -> bytes:
    found = b""
    while mark not in found:
        more = connection.recv(4096)
        assert more, found
        found += more
    return found


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_frees_its_place_within_a_second(
    address: str, engine: FakeEngine, small: Service, stream: bool
) -> None:
    connection = connection_to(address)
    connection.sendall(request_of(body(stream=stream)))
    until(lambda: engine.running == 1)
    if stream:
        read_until(connection, b"The cat")
    connection.close()
    assert until(lambda: engine.running == 0 and small.gate.taken == 0) < 1.0
    assert engine.cancelled == 1


def test_a_client_that_goes_away_at_any_point_does_no_harm(
    address: str, engine: FakeEngine, small: Service, caplog: pytest.LogCaptureFixture
) -> None:
    whole = request_of(body(stream=True))
    for end in (1, 10, 60, whole.index(b"\r\n\r\n") + 4, len(whole) - 1, len(whole)):
        with connection_to(address) as connection:
            connection.sendall(whole[:end])
            time.sleep(0.02)
    until(lambda: engine.running == 0 and small.gate.taken == 0)
    assert httpx.post(address + URL, content=body(), headers={"content-type": "application/json"}).status_code == 200
    assert caplog.text == ""


def test_a_body_that_does_not_come_frees_its_place(address: str, small: Service) -> None:
    with connection_to(address) as connection:
        connection.sendall(request_of(b"{", length=100))
        until(lambda: small.gate.taken == 1)
        answer = read_until(connection, b"request_timeout")
    assert answer.startswith(b"HTTP/1.1 408")
    until(lambda: small.gate.taken == 0)


def test_a_full_server_says_when_to_ask_again(address: str, small: Service) -> None:
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(httpx.post, address + URL, json=chat("segment"), timeout=20) for _ in range(2)]
        until(lambda: small.gate.taken == 2)
        refused = httpx.post(address + URL, json=chat("segment"))
        assert error_of(refused, 429)["code"] == "queue_full"
        assert error_of(refused, 429)["type"] == "rate_limit_error"
        assert refused.headers["retry-after"] == "1"
        assert httpx.get(f"{address}/v1/models").status_code == 200
        assert [future.result().status_code for future in asked] == [200, 200]
    assert httpx.post(address + URL, json=chat("What?")).status_code == 200


def test_a_full_engine_says_when_to_ask_again() -> None:
    response = Caller(create_app(service(FakeEngine(room=0)))).post(URL, chat())
    assert error_of(response, 429)["code"] == "queue_full"
    assert response.headers["retry-after"] == "7"


def test_a_large_body_gets_its_refusal(address: str, small: Service) -> None:
    """The answer is read by clients only after they sent all."""
    content = json.dumps(chat("x" * 5_000_000)).encode()
    held = [small.gate.place() for _ in range(2)]
    for place in held:
        place.__enter__()
    response = httpx.post(address + URL, content=content, headers={"content-type": "application/json"})
    for place in held:
        place.__exit__(None, None, None)
    assert error_of(response, 429)


def test_what_takes_too_long_is_broken_off() -> None:
    engine = FakeEngine(pause=0.2)
    api = Caller(create_app(service(engine, seconds=0.5)))
    assert error_of(api.post(URL, chat("segment")), 504)["code"] == "timeout"
    until(lambda: engine.running == 0)
    assert engine.cancelled == 1
    stream = api.post(URL, chat("segment", stream=True)).text
    assert '"code": "timeout"' in stream and "[DONE]" not in stream


def test_a_server_that_loads_or_shuts_down_says_so(engine: FakeEngine) -> None:
    made = service(engine)
    made.gate.loaded = False
    api = Caller(create_app(made))
    for response in (api.get("/readyz"), api.post(URL, chat()), api.get("/v1/models"), api.get("/v1/models/scenes")):
        assert error_of(response, 503)["code"] == "loading"
        assert response.headers["retry-after"] == "1"
    assert api.get("/healthz").status_code == 200
    made.gate.loaded = True
    assert api.get("/readyz").status_code == 200
    made.gate.close()
    for response in (api.get("/readyz"), api.post(URL, chat())):
        assert error_of(response, 503)["code"] == "draining"
    assert api.get("/healthz").status_code == 200


def test_a_closed_engine_says_so(engine: FakeEngine) -> None:
    engine.close(0.0)
    assert error_of(Caller(create_app(service(engine))).post(URL, chat()), 503)["code"] == "draining"


def test_requests_are_counted(engine: FakeEngine) -> None:
    engine.pause = 0.0
    api = Caller(create_app(service(engine)))
    api.post(URL, chat())
    api.post(URL, chat(model="x"))
    api.get("/v1/models/scenes")
    api.get("/nowhere")
    shown = api.get("/metrics")
    assert shown.headers["content-type"].startswith("text/plain")
    lines = dict(line.rsplit(" ", 1) for line in shown.text.splitlines() if not line.startswith("#"))
    assert lines['neuraltuning_requests_total{endpoint="/v1/chat/completions",status="200"}'] == "1.0"
    assert lines['neuraltuning_requests_total{endpoint="/v1/chat/completions",status="404"}'] == "1.0"
    assert lines['neuraltuning_requests_total{endpoint="/v1/models/{model}",status="200"}'] == "1.0"
    assert lines['neuraltuning_requests_total{endpoint="other",status="404"}'] == "1.0"
    assert lines['neuraltuning_tokens_total{kind="prompt",model="scenes"}'] == "13.0"
    assert lines["neuraltuning_engine_finished_total"] == "1.0"
    assert lines["neuraltuning_engine_running"] == "0.0"
    assert float(lines["process_resident_memory_bytes"]) > 1e6


def test_pictures_are_opened_beside_the_event_loop(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one is unpacked, other requests are answered."""
    opening, done = threading.Event(), threading.Event()

    def slowly(*arguments: Any, **options: Any) -> None:
        opening.set()
        assert done.wait(5)
        raise ValueError

    monkeypatch.setattr("neuraltuning.serving.api.pictures.decode_image", slowly)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(httpx.post, address + URL, content=body(), headers={"content-type": "application/json"})
        assert opening.wait(5)
        assert httpx.get(f"{address}/healthz").status_code == 200
        done.set()
        assert asked.result().status_code == 500
