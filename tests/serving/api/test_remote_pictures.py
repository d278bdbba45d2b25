"""Pictures from addresses: only allowed hosts, never an inside address, whatever a name service or a redirect says."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from neuraltuning.errors import InputError
from neuraltuning.serving.api.app import create_app
from neuraltuning.serving.api.limits import Limits
from neuraltuning.serving.api.remote_pictures import RemotePictures, is_public
from tests.serving.api.fake_engine import FakeEngine
from tests.serving.api.serving import Caller, chat, error_of, png, service

LIMITS = Limits(body_bytes=20_000, upload_seconds=1.0)
INSIDE = (
    "127.0.0.1",
    "127.9.9.9",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "fd12:3456::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "2001:0:7f00:1::1",
    "2001:db8::1",
)


class Handler(BaseHTTPRequestHandler):
    """Answers by path."""

    asked: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers["Host"]))
        answers: dict[str, tuple[int, dict[str, str], bytes]] = {
            "/cat.png": (200, {"Content-Type": "image/png"}, png(5, 3)),
            "/page": (200, {"Content-Type": "text/html"}, b"<html>"),
            "/away": (302, {"Location": "http://127.0.0.1/secret"}, b""),
            "/here": (302, {"Location": "/cat.png"}, b""),
            "/large": (200, {"Content-Type": "image/png"}, bytes(20_001)),
            "/packed": (200, {"Content-Type": "image/png", "Content-Encoding": "gzip"}, b"\x1f\x8b"),
            "/broken": (200, {"Content-Type": "image/png"}, b"no picture"),
            "/slow": (200, {"Content-Type": "image/png", "Content-Length": "100"}, b"\x89PNG"),
        }
        status, headers, content = answers.get(self.path, (404, {}, b""))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
        if self.path == "/slow":
            self.wfile.flush()
            threading.Event().wait(2)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def host() -> Iterator[ThreadingHTTPServer]:
    """A web server that calls itself pictures.test."""
    handler = type("Own", (Handler,), {"asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


def looked_up(*addresses: str) -> Any:
    """A name service that knows one answer, and counts."""

    async def lookup(name: str, port: int) -> list[str]:
        lookup.names.append(name)  # type: ignore[attr-defined]
        return list(addresses)

    lookup.names = []  # type: ignore[attr-defined]
    return lookup


def fetched(remote: RemotePictures, address: str) -> bytes:
    return asyncio.run(remote.fetch(address))


def remote_of(host: ThreadingHTTPServer) -> RemotePictures:
    """Allows the test's own server, as if its address were public."""
    names = [f"pictures.test:{host.server_port}"]
    return RemotePictures(names, LIMITS, lookup=looked_up("127.0.0.1"), allowed=lambda address: True)


def test_a_picture_of_an_allowed_host_is_read(host: ThreadingHTTPServer) -> None:
    address = f"http://pictures.test:{host.server_port}/cat.png"
    assert fetched(remote_of(host), address) == png(5, 3)
    assert host.RequestHandlerClass.asked == [("/cat.png", f"pictures.test:{host.server_port}")]  # type: ignore[attr-defined]


def test_a_chat_may_name_it(host: ThreadingHTTPServer) -> None:
    engine = FakeEngine()
    api = Caller(create_app(service(engine, remote=remote_of(host))))
    address = f"http://pictures.test:{host.server_port}"
    assert api.post("/v1/chat/completions", chat("segment", f"{address}/cat.png")).status_code == 200
    image = engine.queries[0].image
    assert image is not None and image.size == (5, 3)
    for path in ("page", "away", "broken", "none"):
        error = error_of(api.post("/v1/chat/completions", chat("segment", f"{address}/{path}")), 400)
        assert error["code"] == "invalid_image"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("away", "redirects are not followed"),
        ("here", "redirects are not followed"),
        ("page", "something else"),
        ("packed", "something else"),
        ("large", "more than 20,000 bytes"),
        ("none", "answers 404"),
        ("slow", "within 1 seconds"),
    ],
)
def test_what_is_no_picture_is_refused(host: ThreadingHTTPServer, path: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        fetched(remote_of(host), f"http://pictures.test:{host.server_port}/{path}")
    asked = [path for path, _ in host.RequestHandlerClass.asked]  # type: ignore[attr-defined]
    assert asked == [f"/{path}"]


@pytest.mark.parametrize("address", INSIDE)
def test_an_allowed_name_that_leads_inside_is_refused(address: str) -> None:
    assert not is_public(address)
    for lookup in (looked_up(address), looked_up("93.184.215.14", address)):
        remote = RemotePictures(["pictures.test"], LIMITS, lookup=lookup)
        with pytest.raises(InputError, match="no public address"):
            fetched(remote, "http://pictures.test/cat.png")


@pytest.mark.parametrize("address", ["93.184.215.14", "8.8.8.8", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)


def test_a_name_is_looked_up_once_and_its_checked_address_is_used(
    host: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name service that gives another address the second time changes nothing."""
    answers = iter([["127.0.0.1"], ["169.254.169.254"]])
    names: list[str] = []

    async def rebinding(name: str, port: int) -> list[str]:
        names.append(name)
        return next(answers)

    checked: list[str] = []

    def allowed(address: str) -> bool:
        checked.append(address)
        return address == "127.0.0.1"

    remote = RemotePictures([f"pictures.test:{host.server_port}"], LIMITS, lookup=rebinding, allowed=allowed)
    address = f"http://pictures.test:{host.server_port}/cat.png"
    assert fetched(remote, address) == png(5, 3)
    assert (names, checked) == (["pictures.test"], ["127.0.0.1"])
    with pytest.raises(InputError, match="no public address"):
        fetched(remote, address)


@pytest.mark.parametrize(
    "address",
    [
        "http://evil.test/cat.png",
        "http://pictures.test.evil.test/cat.png",
        "http://pictures.test@evil.test/cat.png",
        "http://user:word@pictures.test/cat.png",
        "http://evil.test#pictures.test",
        "http://evil.test\\@pictures.test/cat.png",
        "http://pictures.test:22/cat.png",
        "http://127.0.0.1/cat.png",
        "http://[::1]/cat.png",
        "http://2130706433/cat.png",
        "ftp://pictures.test/cat.png",
        "file:///etc/passwd",
        "gopher://pictures.test/",
        "//pictures.test/cat.png",
        "http:///cat.png",
        "http://[pictures.test/",
        "http://pictures.test/" + "a" * 2048,
        "cat.png",
        "",
    ],
)
def test_an_address_that_is_not_allowed_is_not_even_looked_up(address: str) -> None:
    lookup = looked_up("93.184.215.14")
    remote = RemotePictures(["pictures.test"], LIMITS, lookup=lookup)
    with pytest.raises(InputError):
        fetched(remote, address)
    assert lookup.names == []


@pytest.mark.parametrize(
    "name", ["127.0.0.1", "[::1]", "http://pictures.test", "*", "", "a b", "pictures.test/x", "10"]
)
def test_only_names_can_be_allowed(name: str) -> None:
    with pytest.raises(InputError, match="can't be allowed"):
        RemotePictures([name], LIMITS)


def test_a_host_that_is_down_or_unknown_tells_nothing(host: ThreadingHTTPServer) -> None:
    async def unknown(name: str, port: int) -> list[str]:
        raise OSError("Name or service not known")

    for lookup in (unknown, looked_up("127.0.0.1")):
        remote = RemotePictures(["pictures.test:1"], LIMITS, lookup=lookup, allowed=lambda address: True)
        with pytest.raises(InputError, match=r"^the picture's host can't be reached\.$"):
            fetched(remote, "http://pictures.test:1/cat.png")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl makes a certificate")
def test_the_hosts_certificate_is_checked_by_its_name(host: ThreadingHTTPServer, tmp_path: Path) -> None:
    """The connection goes to a checked address, and still the name is what TLS is about."""
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    new = f"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout {key} -out {certificate}"
    name = "-days 2 -subj /CN=pictures.test -addext subjectAltName=DNS:pictures.test"
    made = subprocess.run(["openssl", *new.split(), *name.split()], capture_output=True)
    assert made.returncode == 0, made.stderr
    names: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.sni_callback = lambda connection, name, context: names.append(name)
    host.socket = context.wrap_socket(host.socket, server_side=True)
    with pytest.raises(InputError, match="can't be reached"):  # nobody vouches for it
        fetched(remote_of(host), f"https://pictures.test:{host.server_port}/cat.png")
    assert names == ["pictures.test"]
