"""Services on engines of tests, their applications called directly, and real servers in threads."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI
from PIL import Image

from neuraltuning.serving.api.limits import Limits
from neuraltuning.serving.api.pictures import Pictures
from neuraltuning.serving.api.remote_pictures import RemotePictures
from neuraltuning.serving.api.service import Engine, ModelCard, Service
from tests.serving.api.fake_engine import FakeEngine, until

CARDS = {
    "scenes": ModelCard("scenes", 1_700_000_000, ("<OBJ>", "<GEN>")),
    "ada/words": ModelCard("ada/words", 1_700_000_001, ()),
}


def service(
    engine: Engine | None = None, *, places: int = 64, remote: RemotePictures | None = None, **limits: Any
) -> Service:
    """A service with two models on one engine."""
    bounds = Limits(**limits)
    made = Service(limits=bounds, places=places, pictures=Pictures(bounds.pixels, remote))
    made.open(engine or FakeEngine(), CARDS)
    return made


def client(app: FastAPI, **options: Any) -> httpx.AsyncClient:
    """Calls an application without a server."""
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://localhost:8000", **options)


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """Runs an application in a thread; its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", timeout_graceful_shutdown=2))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            until(lambda: server.started)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def png(width: int = 6, height: int = 4, color: str = "red", **options: Any) -> bytes:
    """The bytes of a picture of one color."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), color).save(file, **{"format": "PNG", **options})
    return file.getvalue()


def data_url(content: bytes, kind: str = "image/png") -> str:
    """A file's bytes as a data URL."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def chat(text: str = "What is it?", picture: str | None = None, **more: Any) -> dict[str, Any]:
    """The body of a chat of one turn."""
    content: Any = text
    if picture is not None:
        content = [{"type": "image_url", "image_url": {"url": picture}}, {"type": "text", "text": text}]
    return {"model": "scenes", "messages": [{"role": "user", "content": content}], **more}


class Caller:
    """Calls an application without a server, one request at a time."""

    def __init__(self, app: FastAPI, **headers: str | bytes) -> None:
        self._app, self._headers = app, headers

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        return self.request("POST", path, **({} if body is None else {"json": body}), **options)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def call() -> httpx.Response:
            async with client(self._app, headers=self._headers) as calling:
                return await calling.request(method, path, **options)

        return asyncio.run(call())


def error_of(response: httpx.Response, status: int) -> dict[str, Any]:
    """The error of a response, which is of this status and in OpenAI's shape."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert list(body) == ["error"] and set(body["error"]) == {"message", "type", "param", "code"}
    assert body["error"]["message"].endswith(".")
    return dict(body["error"])


def events_of(response: httpx.Response) -> list[Any]:
    """The events of a stream: what is behind each "data: ", as JSON but for "[DONE]"."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    lines = response.text.split("\n\n")
    assert lines.pop() == ""
    assert all(line.startswith("data: ") for line in lines)
    return [line[6:] if line == "data: [DONE]" else json.loads(line[6:]) for line in lines]
