"""Asking a model at an OpenAI-compatible `/v1/chat/completions` address, with a pace, retries and a budget.

The openai package speaks HTTP and is kept up by the interface's makers. Its own retries are off: neither the pace nor
the budget would count them. Knows nothing of prompts, images or journals.
"""

from __future__ import annotations

import asyncio
import email.utils
import importlib.util
import os
import random
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, ValidationError

from neuraltuning.errors import InputError, RunError
from neuraltuning.mmud.budget import FREE, Budget, Prices, Reservation
from neuraltuning.mmud.workers import Stop

if TYPE_CHECKING:
    import openai

LONGEST_PAUSE = 60.0
"""Seconds between two tries at most, unless the server asks for more."""
LONGEST_WAIT = 600.0
"""Seconds for which a server's Retry-After is obeyed at most."""
SECRET = 8
"""Characters that a key has at least; shorter ones stand for none at servers that want some."""
CHARACTERS_A_TOKEN = 3
"""For estimates; rather too few for English."""
_THOUGHTS = re.compile(r"^\s*<think>.*?(?:</think>|\Z)\s*", re.DOTALL)
_PASSING = (408, 409, 425, 429)
"""HTTP statuses that are worth another try, beside 5xx."""


@dataclass(frozen=True)
class Service:
    """A model at an address, and how it is asked.

    Attributes:
        address: up to and with "/v1".
        model: the name that the server calls it by.
        key_variable: the environment variable with the key; a server that wants none is asked without it.
        concurrency: requests under way at once.
        requests_per_minute: at most, evenly spaced; None: no limit.
        timeout: seconds for a whole answer.
        retries: further tries after 429, 5xx, a time-out or a cut connection.
        max_tokens: of an answer.
        prices, budget: of tokens, and the most that may be spent; None: no limit.
        backoff: seconds before the first retry; they double with each.
    """

    address: str
    model: str
    key_variable: str = "OPENAI_API_KEY"
    concurrency: int = 8
    requests_per_minute: float | None = None
    timeout: float = 120.0
    retries: int = 5
    max_tokens: int = 1024
    prices: Prices = FREE
    budget: float | None = None
    backoff: float = 1.0

    def __post_init__(self) -> None:
        """Refuses what can't be an address, or a budget that nothing could reach.

        Raises:
            InputError: so it is.
        """
        try:
            parts = urlsplit(self.address)
            usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and not parts.query
        except ValueError:
            usable = False
        if "@" in self.address:
            raise InputError("--address holds a user's name or password; give a key in an environment variable.")
        if not usable or re.search(r"\s", self.address):
            raise InputError(f"--address {self.address!r} is no address; give one like http://localhost:8000/v1.")
        if self.budget is not None and not self.prices.known:
            raise InputError("--budget needs --input-price and --output-price: nothing would be counted.")


@dataclass(frozen=True)
class Answer:
    """What the model said.

    Attributes:
        text: its message, without the thoughts that some models put before it.
        ended: why it ended: "stop", "length", "content_filter", ...; "refusal" where the server marks it as one.
        input_tokens, output_tokens: as counted by the server, or estimated where it doesn't.
        cost: of these tokens.
    """

    text: str
    ended: str
    input_tokens: int
    output_tokens: int
    cost: float

    def counts(self) -> dict[str, Any]:
        """What a record keeps of it beside the text."""
        return {"input_tokens": self.input_tokens, "output_tokens": self.output_tokens, "cost": self.cost}


class Unanswered(Exception):
    """There is no answer to a request.

    Attributes:
        reason: "rejected": the server won't take it; "unanswered": it gave no answer after all tries.
        detail: what happened last.
    """

    def __init__(self, reason: Literal["rejected", "unanswered"], detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


class _TryAgain(Exception):
    """A try failed in a way that passes. `wait`: seconds that the server asks for; `paid`: an answer may be lost."""

    def __init__(self, detail: str, *, wait: float | None = None, paid: bool = False) -> None:
        super().__init__(detail)
        self.wait, self.paid = wait, paid


class _Rejected(Exception):
    """The server won't take this request."""


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: int = Field(ge=0)
    completion_tokens: int = Field(ge=0)


class _Completion(BaseModel):
    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


class ChatClient:
    """Asks one service; an asynchronous context manager."""

    def __init__(self, service: Service, budget: Budget, stop: Stop) -> None:
        """Reads the key.

        Raises:
            InputError: the openai package is missing, or the key can't stand in a header.
        """
        if importlib.util.find_spec("openai") is None:
            raise InputError("This needs the package openai; install it with: pip install 'neuraltuning[mmud]'")
        self.service, self.budget = service, budget
        self._stop = stop
        self._key = os.environ.get(service.key_variable, "").strip()
        if not (self._key.isascii() and self._key.isprintable()):
            raise InputError(f"The key in the environment variable {service.key_variable} is no plain text.")
        self._not_before = 0.0
        self._reached = False
        self._length_field = "max_tokens"

    async def __aenter__(self) -> ChatClient:
        import openai

        self._openai = openai.AsyncOpenAI(
            base_url=self.service.address,
            api_key=self._key or "none",
            max_retries=0,
            timeout=self.service.timeout,
        )
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._openai.close()

    async def ask(
        self, content: str | list[dict[str, Any]], input_tokens: float, lost: Callable[[str, float], object]
    ) -> Answer:
        """Asks until there is an answer, or the retries are used up.

        Args:
            content: of the user's message: a text, or parts with images.
            input_tokens: an estimate.
            lost: called with what happened and the largest possible cost when a try's answer may be lost.

        Raises:
            Unanswered: the server rejects the request, or the retries are used up.
            RunError: no request can succeed: bad key, unknown model, unreachable address, spent budget.
            Stopped: the run ends before it is sent.
        """
        for number in range(self.service.retries + 1):
            await self._turn()
            reserved = await self.budget.reserve(input_tokens, self.service.max_tokens)
            cost, counted = 0.0, None
            try:
                answer = self._read(await self._send(content), reserved)
                cost, counted = answer.cost, answer.input_tokens
                return answer
            except _Rejected as error:
                raise Unanswered("rejected", str(error)) from error
            except _TryAgain as error:
                detail, wait = str(error), error.wait
                if error.paid:
                    cost = reserved.most
                    lost(detail, cost)
            finally:
                self.budget.settle(reserved, cost, counted)
            if number == self.service.retries:
                break
            if wait is not None:
                self._not_before = max(self._not_before, time.monotonic() + min(wait, LONGEST_WAIT))
            else:
                await self._stop.sleep(min(self.service.backoff * 2**number, LONGEST_PAUSE) * random.uniform(0.5, 1.0))
        raise Unanswered("unanswered", f"{detail}, {self.service.retries + 1} tries")

    async def _turn(self) -> None:
        """Waits until the pace and the server allow another request."""
        while (now := time.monotonic()) < self._not_before:
            await self._stop.sleep(self._not_before - now)
        self._stop.check()
        if self.service.requests_per_minute is not None:
            self._not_before = now + 60.0 / self.service.requests_per_minute

    async def _send(self, content: str | list[dict[str, Any]]) -> bytes:
        """One try. Returns the body of the server's reply."""
        import openai

        message: Any = {"role": "user", "content": content}
        length: dict[str, Any] = {self._length_field: self.service.max_tokens}
        create = self._openai.chat.completions.with_raw_response.create
        try:
            # the client's own time-out starts anew with each byte that trickles in
            reply = await asyncio.wait_for(
                create(model=self.service.model, messages=[message], **length), self.service.timeout
            )
        except asyncio.TimeoutError as error:
            raise self._timed_out() from error
        except openai.APIStatusError as error:
            self._reached = True
            raise self._status(error) from error
        except openai.APIConnectionError as error:
            raise self._cut(error) from error
        self._reached = True
        return reply.content

    def _read(self, body: bytes, reserved: Reservation) -> Answer:
        try:
            completion = _Completion.model_validate_json(body)
        except ValidationError as error:
            raise _TryAgain("the reply is no chat completion", paid=True) from error
        choice, usage = completion.choices[0], completion.usage
        ended = "refusal" if choice.message.refusal else choice.finish_reason or ""
        text = choice.message.refusal or choice.message.content or ""
        if usage is None:
            counts, cost = (round(reserved.input_tokens), self.service.max_tokens), reserved.most
        else:
            counts = usage.prompt_tokens, usage.completion_tokens
            cost = self.service.prices.cost(*counts)
        return Answer(self._redacted(_THOUGHTS.sub("", text, count=1)), ended, *counts, cost)

    def _timed_out(self) -> _TryAgain:
        return _TryAgain(f"no answer within {self.service.timeout:g} s", paid=True)

    def _cut(self, error: openai.APIConnectionError) -> Exception:
        # by name: the package is built on one of two HTTP libraries, by its version
        cause = type(error.__cause__).__name__
        if cause in ("ConnectError", "ConnectTimeout"):
            if not self._reached:
                reason = self._redacted(str(error.__cause__)) or cause
                return RunError(f"Nothing answers at {self.service.address}: {reason}. Start it, or correct --address.")
            return _TryAgain("the server can't be reached")
        if "Timeout" in cause:
            return self._timed_out()
        return _TryAgain(f"the connection was cut ({cause})", paid=True)

    def _status(self, error: openai.APIStatusError) -> Exception:
        status, service = error.status_code, self.service
        said = self._excerpt(error.response)
        where = f"The server at {service.address}"
        if status in (401, 403):
            key = f"the key in the environment variable {service.key_variable}"
            problem = f"refuses {key}" if self._key else f"wants {key}, which is not set"
            return RunError(f"{where} {problem} (HTTP {status}). What was answered is kept; set it and run again.")
        if status == 402 or error.code == "insufficient_quota":
            return RunError(f"{where} wants money first (HTTP {status}: {said}); pay, then run the same command again.")
        if status == 404:
            problem = f"knows no model {service.model!r}, or its address ends elsewhere than at /v1"
            return RunError(f"{where} {problem} (HTTP 404: {said}).")
        if status in _PASSING or status >= 500:
            return _TryAgain(f"HTTP {status}: {said}", wait=_retry_after(error.response.headers))
        if "max_completion_tokens" in said and self._length_field == "max_tokens":
            self._length_field = "max_completion_tokens"  # OpenAI's newer name, which other servers don't know
            return _TryAgain(f"HTTP {status}: {said}", wait=0.0)
        return _Rejected(f"HTTP {status}: {said}")

    def _excerpt(self, response: Any) -> str:
        return " ".join(self._redacted(response.text).split())[:300]

    def _redacted(self, text: str) -> str:
        """A server's words without the key, which some repeat."""
        return text.replace(self._key, "***") if len(self._key) >= SECRET else text


def estimate_tokens(text: str) -> float:
    """About how many tokens a text has, rather more."""
    return len(text) / CHARACTERS_A_TOKEN


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait: a number, or until a date (RFC 9110, 10.2.3)."""
    value = headers.get("retry-after", "")
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, TypeError):
            return None
    return max(seconds, 0.0) if seconds == seconds else None
