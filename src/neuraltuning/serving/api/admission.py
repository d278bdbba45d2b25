"""How many requests are in the server at once, and whether it takes any. Knows nothing of what they ask."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from neuraltuning.serving.api.errors import ApiError

RETRY_SECONDS = {"Retry-After": "1"}


class Gate:
    """Gives out places; used by the event loop's thread alone.

    Attributes:
        places: how many requests may be in the server, with their bodies and pictures.
        taken: how many are.
        loaded: whether there is an engine to answer them.
        closed_at: when it was closed, by `time.monotonic`; None while it is open.
    """

    def __init__(self, places: int) -> None:
        self.places, self.taken, self.loaded = places, 0, False
        self.closed_at: float | None = None

    def close(self) -> None:
        """Takes no more requests; those that are in go on."""
        if self.closed_at is None:
            self.closed_at = time.monotonic()

    def check(self) -> None:
        """Whether a request would be answered.

        Raises:
            ApiError: 503: the server shuts down, or its models are still being loaded.
        """
        if self.closed_at is not None:
            headers = {**RETRY_SECONDS, "Connection": "close"}
            raise ApiError(503, "The server shuts down; ask again in a while.", code="draining", headers=headers)
        if not self.loaded:
            message = "The models are still being loaded; ask again in a while."
            raise ApiError(503, message, code="loading", headers=RETRY_SECONDS)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Holds a place for the length of a request.

        Raises:
            ApiError: 503 as `check`; 429: every place is taken.
        """
        self.check()
        if self.taken >= self.places:
            message = f"The server answers {self.places} requests already; ask again in a while."
            raise ApiError(429, message, code="queue_full", headers=RETRY_SECONDS)
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1
