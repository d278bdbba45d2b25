"""Reading a request's body within bounds, and noticing a client that goes away.

The body is counted as it arrives, whatever its Content-Length says; its JSON is parsed by pydantic's parser, which
refuses NaN, half characters and more than 200 levels.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic_core import from_json
from starlette.types import Receive

from neuraltuning.serving.api.errors import ApiError, ClientGone
from neuraltuning.serving.api.limits import MAX_VALUES, Limits

SMALL = 2**20
"""Bytes of a body up to which another thread takes longer than its parsing."""
DISCARDED = 4
"""Times the limit that is still read of a refused body: a client reads the answer only after it has sent all."""
DISCARDING_SECONDS = 5.0
"""For reading it."""


class BoundedRequest(Request):
    """A request whose body is read within `app.state.limits` and parsed strictly."""

    async def body(self) -> bytes:
        """All of the body.

        Raises:
            ApiError: 408, 413, 415: it takes too long, is too large, or is no JSON.
            ClientGone: the client went away before its end.
        """
        if not hasattr(self, "_whole"):
            kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
            limits: Limits = self.app.state.limits
            self._whole = await read_body(self.receive, limits)
            if kind != "application/json":
                raise ApiError(415, "A request's body is JSON: send it with Content-Type: application/json.")
        return self._whole

    async def json(self) -> Any:
        """The body's JSON.

        Raises:
            ApiError: 400: it is none, or holds too many values.
        """
        body = await self.body()
        return parse_json(body) if len(body) < SMALL else await asyncio.to_thread(parse_json, body)


class BoundedRoute(APIRoute):
    """A route that gets a `BoundedRequest`, and whose work ends when its client goes away."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler, with all this around it."""
        answer = super().get_route_handler()

        async def handler(request: Request) -> Response:
            bounded = BoundedRequest(request.scope, request.receive)
            if self.body_field is None:
                return await answer(bounded)
            await bounded.body()
            working = asyncio.ensure_future(answer(bounded))
            gone = asyncio.ensure_future(_disconnection(request.receive))
            try:
                await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
                if not working.done():
                    raise ClientGone
                return working.result()
            finally:
                working.cancel()
                gone.cancel()
                await asyncio.gather(working, gone, return_exceptions=True)

        return handler


async def read_body(receive: Receive, limits: Limits) -> bytes:
    """The body.

    Raises:
        ApiError: 408, 413: it takes too long, or is larger than the limit.
        ClientGone: the client went away before its end.
    """
    kept, size = [], 0

    async def read() -> None:
        nonlocal size
        async for chunk in _chunks(receive, DISCARDED * limits.body_bytes):
            size += len(chunk)
            if size <= limits.body_bytes:
                kept.append(chunk)

    try:
        await asyncio.wait_for(read(), limits.upload_seconds)
    except asyncio.TimeoutError:
        message = f"The request's body did not arrive within {limits.upload_seconds:g} seconds; send it again."
        raise ApiError(408, message, code="request_timeout", headers={"Connection": "close"}) from None
    if size > limits.body_bytes:
        message = f"The request's body has more than {limits.body_bytes:,} bytes; send a smaller picture."
        raise ApiError(413, message, code="request_too_large", headers={"Connection": "close"})
    return b"".join(kept)


async def discard_body(receive: Receive, limits: Limits) -> None:
    """Reads the body of a request that is refused whatever it holds, unless it is endless or slow.

    Raises:
        ClientGone: the client went away before its end.
    """

    async def read() -> None:
        async for _ in _chunks(receive, DISCARDED * limits.body_bytes):
            pass

    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(read(), DISCARDING_SECONDS)


async def _chunks(receive: Receive, most: int) -> AsyncIterator[bytes]:
    size, more = 0, True
    while more and size <= most:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk = message.get("body", b"")
        size, more = size + len(chunk), message.get("more_body", False)
        yield chunk


def parse_json(body: bytes) -> Any:
    """What a body holds.

    Raises:
        ApiError: 400: no JSON, or more values than a request needs.
    """
    if sum(body.count(mark) for mark in (b",", b"[", b"{")) > MAX_VALUES:
        raise ApiError(400, f"The request's JSON holds more than {MAX_VALUES:,} values; send fewer.")
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise ApiError(400, f"The request's body is no JSON: {error}.", code="invalid_json") from None


async def _disconnection(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
