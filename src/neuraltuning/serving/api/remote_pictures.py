"""Fetches pictures from allowed hosts, and never from inside: what is connected to is the address that was checked.

A host is allowed by its name. Its addresses are looked up once for a request, refused unless all of them are public,
and the connection goes to one of them, with the host's name in TLS and HTTP. Redirects are refused.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Sequence

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from neuraltuning.errors import InputError
from neuraltuning.serving.api.limits import Limits

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Lookup = Callable[[str, int], Awaitable[Sequence[str]]]
"""Host and port -> its addresses."""

MAX_URL = 2048
"""Characters of an address."""
_NAME = re.compile(r"(?=[^:]*[a-z])[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?(:[0-9]{1,5})?")
_EMBEDDING = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))
"""IPv6 networks whose addresses stand for IPv4 ones behind a translator."""


class RemotePictures:
    """Fetches pictures; used by the event loop's thread."""

    def __init__(
        self,
        hosts: Sequence[str],
        limits: Limits,
        *,
        lookup: Lookup | None = None,
        allowed: Callable[[str], bool] | None = None,
    ) -> None:
        """Takes the allowed hosts.

        Args:
            hosts: names, "images.example.org", with a port where it isn't the scheme's own: "example.org:8443".
            limits: how many bytes in how many seconds.
            lookup: the system's name service by default.
            allowed: which addresses may be connected to; `is_public` by default.

        Raises:
            InputError: a host is no name.
        """
        for host in hosts:
            if not _NAME.fullmatch(host.lower()):
                raise InputError(f"The host {host!r} can't be allowed; give a name such as images.example.org.")
        self._hosts = frozenset(host.lower() for host in hosts)
        self._limits = limits
        self._resolver = _CheckingResolver(lookup or _system_lookup, allowed or is_public)

    async def fetch(self, address: str) -> bytes:
        """What stands at an address.

        Raises:
            InputError: the address is not allowed, can't be reached, redirects, or gives no picture in time and size.
        """
        url = self._checked(address)
        timeout = aiohttp.ClientTimeout(total=self._limits.upload_seconds)
        connector = aiohttp.TCPConnector(resolver=self._resolver, use_dns_cache=False, force_close=True)
        try:
            async with (
                aiohttp.ClientSession(
                    connector=connector, timeout=timeout, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
                ) as session,
                session.get(
                    url, allow_redirects=False, headers={"Accept": "image/*", "Accept-Encoding": "identity"}
                ) as response,
            ):
                if response.status != 200:
                    raise InputError(f"the picture's host answers {response.status}; redirects are not followed.")
                if not response.content_type.startswith("image/") or "Content-Encoding" in response.headers:
                    raise InputError("the picture's host gives something else than an unpacked picture.")
                return await self._read(response)
        except asyncio.TimeoutError:
            raise InputError(f"the picture did not arrive within {self._limits.upload_seconds:g} seconds.") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError("the picture's host can't be reached.") from None

    def _checked(self, address: str) -> URL:
        try:
            url = URL(address)
            host, port = url.host, url.port
        except ValueError:
            raise InputError("the picture's address is none.") from None
        if len(address) > MAX_URL or url.scheme not in ("http", "https") or not host or url.user is not None:
            raise InputError("a picture is sent as a data URL or as an http(s) address without user and password.")
        name = host.lower() if url.is_default_port() else f"{host.lower()}:{port}"
        if name not in self._hosts:
            raise InputError(f"pictures are not fetched from {name[:100]}; send it as a data URL.")
        return url

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        chunks, size = [], 0
        async for chunk in response.content.iter_any():
            size += len(chunk)
            if size > self._limits.body_bytes:
                raise InputError(f"the picture has more than {self._limits.body_bytes:,} bytes.")
            chunks.append(chunk)
        return b"".join(chunks)


class _CheckingResolver(AbstractResolver):
    """Gives aiohttp the addresses that it connects to; one that isn't allowed spoils them all."""

    def __init__(self, lookup: Lookup, allowed: Callable[[str], bool]) -> None:
        self._lookup, self._allowed = lookup, allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        addresses = await self._lookup(host, port)
        if not addresses or not all(map(self._allowed, addresses)):
            raise InputError("the picture's host has no public address.")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        """Holds nothing."""


def is_public(address: str) -> bool:
    """Whether an IP address is of the public internet, also where it stands for an IPv4 one."""
    found: IPAddress = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None or found.sixtofour is not None or found.teredo is not None:
            return False
        if any(found in network for network in _EMBEDDING):
            return False
    special = found.is_private or found.is_multicast or found.is_reserved or found.is_unspecified
    return found.is_global and not special


async def _system_lookup(host: str, port: int) -> list[str]:
    infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(info[4][0]) for info in infos))
