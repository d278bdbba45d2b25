"""How much one request may ask for, and how much the server takes on at once."""

from __future__ import annotations

from dataclasses import dataclass

MAX_MESSAGES = 256
"""Messages of a conversation."""
MAX_PARTS = 64
"""Parts of a message's content."""
MAX_STOPS = 4
"""Texts that may end a reply."""
MAX_DRAWINGS = 10
"""Pictures drawn for one request."""
MAX_VALUES = 100_000
"""Values in a body's JSON, which take far more memory than their text."""
MAX_MASK_BYTES = 2**28
"""Memory of one reply's masks, a byte a pixel: a model can go round in circles, about a large picture too."""


@dataclass(frozen=True)
class Limits:
    """What the operator of a server sets.

    Attributes:
        body_bytes: of a request, and of a remote picture.
        pixels: of a picture.
        new_tokens: of a reply.
        seconds: from a request's arrival to the end of its answer.
        upload_seconds: in which a request's body, or a remote picture, has to arrive.
        drain_seconds: in which running replies are finished when the server is told to stop.
    """

    body_bytes: int = 32 * 2**20
    pixels: int = 16_000_000
    new_tokens: int = 1024
    seconds: float = 120.0
    upload_seconds: float = 30.0
    drain_seconds: float = 30.0
