"""Who may ask: whoever has the key, or, without one, programs and pages of this computer.

A page of another site can reach a loopback address by a name of its own that points there (DNS rebinding); it can't
make the browser say another host than that name, so names that are not loopback's are refused. With a key that is
needless, and a proxy in front may then pass on its own name. Knows nothing of what is asked.
"""

from __future__ import annotations

import secrets
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from neuraltuning.serving.api.errors import ApiError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Names by which a server without a key may be called; the port may be another one, behind a tunnel."""
OPEN_PATHS = ("/healthz", "/readyz")
"""Paths that take no key."""
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
"""Of every response that doesn't set its own."""


class Access:
    """Decides whether a request is let in."""

    def __init__(self, key: str | None, open_paths: tuple[str, ...] = OPEN_PATHS) -> None:
        """Takes the key that clients have to send, if any, and the paths that need none; "/page/*" is all below one."""
        self._key = None if key is None else key.encode()
        self._open_paths = open_paths

    def check(self, path: str, headers: Headers) -> None:
        """Refuses a request that may not ask.

        Raises:
            ApiError: 401: the key is missing or wrong; 421: the host is not this computer.
        """
        if self._key is None:
            if _hostname(headers.get("host", "")) not in LOOPBACK:
                message = "Without a key this server answers only as localhost or 127.0.0.1; ask it by that name."
                raise ApiError(421, message, code="wrong_host")
        elif not self._is_open(path):
            scheme, _, given = headers.get("authorization", "").partition(" ")
            right = secrets.compare_digest(given.strip().encode("latin-1"), self._key)
            if scheme.lower() != "bearer" or not right:
                message = "The API key is missing or wrong; send it as Authorization: Bearer KEY."
                raise ApiError(401, message, code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})

    def _is_open(self, path: str) -> bool:
        return any(path == name or (name.endswith("/*") and path.startswith(name[:-1])) for name in self._open_paths)


def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None
