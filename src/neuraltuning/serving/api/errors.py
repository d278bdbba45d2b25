"""Errors in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}`, a sentence each, nothing internal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException as StarletteHTTPException

from neuraltuning.errors import InputError
from neuraltuning.serving.engine_types import ConversationTooLong, EngineClosed, QueueFull

TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
"""OpenAI's `type` by status, where it is not "invalid_request_error" (other 4xx) or "server_error" (5xx)."""

NOT_OFFERED = {
    "audio": "the models speak no audio",
    "frequency_penalty": "replies are not penalised for repeating words",
    "function_call": "the models call no functions",
    "functions": "the models call no functions",
    "logit_bias": "words can't be made likelier",
    "logprobs": "probabilities of words are not given out",
    "modalities": "replies are text, with masks and pictures beside it",
    "n": "one reply is given to a request; send it again with another seed",
    "prediction": "replies can't be given in advance",
    "presence_penalty": "replies are not penalised for repeating words",
    "response_format": "replies can't be forced into a form",
    "tool_choice": "the models call no tools",
    "tool_calls": "the models call no tools",
    "tools": "the models call no tools",
    "top_logprobs": "probabilities of words are not given out",
    "web_search_options": "the models search nothing",
}
"""Fields of OpenAI's API that are taken only where they ask for nothing, and why."""


class ErrorDetail(BaseModel):
    """What went wrong: `message` is a sentence, `param` the field at fault."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorResponse(BaseModel):
    """The body of every answer that is no success."""

    error: ErrorDetail


class ApiError(HTTPException):
    """An answer that is no success.

    Attributes:
        code: OpenAI's or our own name for it, for programs.
        param: the request's field at fault.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, message, dict(headers or {}))
        self.code, self.param = code, param

    @property
    def body(self) -> dict[str, Any]:
        """What is sent, in the response or as the last event of a stream."""
        kind = TYPES.get(self.status_code, "invalid_request_error" if self.status_code < 500 else "server_error")
        detail = ErrorDetail(message=str(self.detail), type=kind, param=self.param, code=self.code)
        return ErrorResponse(error=detail).model_dump()

    def response(self) -> JSONResponse:
        """The error as a response."""
        return JSONResponse(self.body, self.status_code, self.headers)


class ClientGone(Exception):
    """Whoever asked closed the connection; nobody reads an answer."""


def api_error(error: Exception) -> ApiError:
    """What an exception is to a client; one that nobody foresaw tells nothing of itself."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, QueueFull):
        seconds = max(1, round(error.retry_after))
        return ApiError(429, str(error), code="queue_full", headers={"Retry-After": str(seconds)})
    if isinstance(error, EngineClosed):
        return ApiError(503, "The server shuts down; ask again in a while.", code="draining")
    if isinstance(error, InputError):
        too_long = isinstance(error, ConversationTooLong)
        return ApiError(400, _capital(str(error)), code="context_length_exceeded" if too_long else None)
    if isinstance(error, RequestValidationError):
        return _invalid(error)
    if isinstance(error, StarletteHTTPException):
        return ApiError(error.status_code, f"{error.detail}.", headers=error.headers)
    return ApiError(500, "The server failed to answer; its log says why, under this answer's x-request-id.")


async def handle(request: Request, error: Exception) -> Response:
    """FastAPI's handler of every foreseen exception."""
    if isinstance(error, ClientGone):
        return Response(status_code=499)  # nginx's number; nobody reads it
    found = api_error(error)
    if found.status_code in (404, 405) and not isinstance(error, ApiError):
        found.detail = f"There is no {request.method} {request.url.path[:200]} here; see /openapi.json."
    return found.response()


def _invalid(error: RequestValidationError) -> ApiError:
    first = error.errors()[0]
    place = _place(list(first["loc"]), {"body": error.body, "query": {}, "path": {}})
    why = next((NOT_OFFERED[name] for name in (*place[:1], *place[-1:]) if name in NOT_OFFERED), None)
    if why is not None:
        sentence = f"{why}; leave it out"
    elif first["type"] == "extra_forbidden":
        sentence = "there is no such field here; leave it out"
    else:
        reason = first["msg"].removeprefix("Value error, ").rstrip(".")
        sentence = reason[:1].lower() + reason[1:]
    param = ".".join(str(part)[:60] for part in place)
    return ApiError(400, f"{param or 'The request'}: {sentence}.", param=param or None, code="invalid_value")


def _place(location: list[int | str], value: Any) -> list[int | str]:
    """Where in the request an error is: pydantic's location without what it puts in between, such as a union's tags."""
    kept: list[int | str] = []
    for number, key in enumerate(location):
        last = number == len(location) - 1
        if key in (value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()):
            value = value[key]
        elif not last or " " in str(key):
            continue
        kept.append(key)
    return kept[1:]


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
