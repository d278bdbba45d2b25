"""The outermost layer of the server: lets requests in or refuses them, counts them, and mends what nobody foresaw."""

from __future__ import annotations

import logging
import time
import uuid
from contextlib import ExitStack

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from neuraltuning.serving.api.access import SECURITY_HEADERS, Access
from neuraltuning.serving.api.admission import Gate
from neuraltuning.serving.api.body import discard_body
from neuraltuning.serving.api.errors import ApiError, ClientGone, api_error
from neuraltuning.serving.api.limits import Limits
from neuraltuning.serving.api.metrics import Metrics

logger = logging.getLogger(__name__)


class Front:
    """ASGI middleware around the whole application.

    A POST holds one of the gate's places until its answer is sent. Endpoints find in `request.state` an `ExitStack`,
    `at_end`, for what has to be undone then, and the `request_id` that the client is told.
    """

    def __init__(self, app: ASGIApp, *, access: Access, gate: Gate, limits: Limits, metrics: Metrics) -> None:
        self.app, self.access, self.gate, self.limits, self.metrics = app, access, gate, limits, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one connection of uvicorn's."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start = time.perf_counter()
        request_id = f"req_{uuid.uuid4().hex}"
        status = 499  # nginx's number for a client that went away

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            with ExitStack() as at_end:
                scope.setdefault("state", {}).update(at_end=at_end, request_id=request_id)
                try:
                    self.access.check(scope["path"], Headers(scope=scope))
                    if scope["method"] == "POST":
                        at_end.enter_context(self.gate.place())
                except ApiError as error:
                    await discard_body(receive, self.limits)
                    await error.response()(scope, receive, sending)
                    return
                await self.app(scope, receive, sending)
        except ClientGone:
            pass
        except Exception as error:
            logger.exception("Request %s failed.", request_id)
            if status == 499:
                await api_error(error).response()(scope, receive, sending)
        finally:
            route = getattr(scope.get("route"), "path_format", "")
            self.metrics.answered(route, status, time.perf_counter() - start)
