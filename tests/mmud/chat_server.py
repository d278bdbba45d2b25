"""A local server of chat completions that behaves as a test tells it to, and counts what it is asked."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

CAPTION = "The picture shows several things on a plain background, and some of them stand beside each other."
QUESTION = "Which of the things would you take along when it rains, and how can you tell where it stands?"
ANSWER = "The umbrella at the left would keep you dry, because it stands open beside the other things."


@dataclass(frozen=True)
class Reply:
    """What the server does with a request.

    Attributes:
        status, body, headers: of its response.
        wait: seconds before it.
        cut: close the connection instead: "before" the response, or in its "middle".
        trickle: seconds before each byte of the body.
    """

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    wait: float = 0.0
    cut: str = ""
    trickle: float = 0.0


def said(text: str, *, tokens: tuple[int, int] | None = (1000, 100), finish: str = "stop", wait: float = 0.0) -> Reply:
    """A completion with this text; `tokens`: input and output that it counts."""
    body: dict[str, Any] = {"choices": [{"message": {"content": text}, "finish_reason": finish}]}
    if tokens is not None:
        body["usage"] = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1]}
    return Reply(json.dumps(body).encode(), wait=wait)


def annotated(caption: str = CAPTION, question: str = QUESTION, answer: str = ANSWER, **more: Any) -> Reply:
    """A completion as `annotate` asks for it."""
    return said(json.dumps({"caption": caption, "question": question, "answer": answer}), **more)


def failed(status: int, message: str = "no", code: str | None = None, **headers: str) -> Reply:
    """An error of the server."""
    body = json.dumps({"error": {"message": message, "code": code}}).encode()
    return Reply(body, status, {name.replace("_", "-"): value for name, value in headers.items()})


@dataclass(frozen=True)
class Asked:
    """A request.

    Attributes:
        number: from 0, in the order of arrival.
        text: of its prompt.
        image: digest of its image; "" without one.
        again: how often the same image (or text) was asked about before.
        payload: all of it.
        headers: of it.
        time: of its arrival, in seconds.
    """

    number: int
    text: str
    image: str
    again: int
    payload: dict[str, Any]
    headers: dict[str, str]
    time: float


class ChatServer:
    """Answers on a port of its own in threads of its own; a context manager.

    Attributes:
        address: with "/v1".
        asked: the requests so far.
        answered: digests of images (or texts) whose response was sent to its end.
        most_at_once: the largest number of requests under way.
    """

    def __init__(self, behave: Callable[[Asked], Reply] = lambda asked: annotated()) -> None:
        self.behave = behave
        self.asked: list[Asked] = []
        self.answered: list[str] = []
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                outer._serve(self)

            def log_message(self, *arguments: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

        self._server = Server(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> ChatServer:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        payload = json.loads(handler.rfile.read(int(handler.headers["content-length"])))
        text, image = _content(payload)
        key = image or text
        with self._lock:
            asked = Asked(
                len(self.asked),
                text,
                image,
                self._counts[key],
                payload,
                dict(handler.headers.items()),
                time.monotonic(),
            )
            self.asked.append(asked)
            self._counts[key] += 1
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            if self._respond(handler, self.behave(asked)):
                self.answered.append(key)
        except (BrokenPipeError, ConnectionResetError):
            handler.close_connection = True
        finally:
            with self._lock:
                self._at_once -= 1

    def _respond(self, handler: BaseHTTPRequestHandler, reply: Reply) -> bool:
        time.sleep(reply.wait)
        if reply.cut == "before":
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)
            return False
        handler.send_response(reply.status)
        for name, value in {"content-type": "application/json", **reply.headers}.items():
            handler.send_header(name, value)
        handler.send_header("content-length", str(len(reply.body)))
        handler.end_headers()
        body = reply.body[: len(reply.body) // 2] if reply.cut else reply.body
        for byte in body if reply.trickle else ():
            time.sleep(reply.trickle)
            handler.wfile.write(bytes([byte]))
        if not reply.trickle:
            handler.wfile.write(body)
        if reply.cut:
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)
        return not reply.cut


def _content(payload: dict[str, Any]) -> tuple[str, str]:
    content = payload["messages"][0]["content"]
    if isinstance(content, str):
        return content, ""
    url = content[1]["image_url"]["url"]
    assert re.match(r"data:image/jpeg;base64,", url)
    return content[0]["text"], hashlib.sha256(url.encode()).hexdigest()[:12]
