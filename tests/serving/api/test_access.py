"""Who may ask, and what every answer carries."""

from __future__ import annotations

import pytest

from neuraltuning.serving.api.access import SECURITY_HEADERS
from neuraltuning.serving.api.app import create_app
from tests.serving.api.serving import Caller, chat, error_of, service

KEY = "a-key-of-the-test"
URL = "/v1/chat/completions"


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:1", "[::1]:8000", "LOCALHOST"])
def test_without_a_key_this_computers_names_are_answered(host: str) -> None:
    assert Caller(create_app(service()), host=host).get("/v1/models").status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "0.0.0.0", "[", ""])
@pytest.mark.parametrize("path", ["/v1/models", "/healthz", "/openapi.json", "/nowhere"])
def test_without_a_key_other_names_are_refused(host: str, path: str) -> None:
    error = error_of(Caller(create_app(service()), host=host).get(path), 421)
    assert error["code"] == "wrong_host"


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer wrong", f"Basic {KEY}", KEY, f"Bearer {KEY}x", "Bearer ä".encode()]
)
def test_a_missing_or_wrong_key_is_refused(header: str | bytes | None) -> None:
    api = Caller(create_app(service(), key=KEY), **({} if header is None else {"authorization": header}))
    for response in (api.post(URL, chat()), api.get("/v1/models"), api.get("/metrics"), api.get("/nowhere")):
        assert error_of(response, 401)["code"] == "invalid_api_key"
        assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("header", [f"Bearer {KEY}", f"bearer {KEY}"])
def test_the_key_opens_under_any_name(header: str) -> None:
    api = Caller(create_app(service(), key=KEY), authorization=header, host="api.example.org")
    assert api.post(URL, chat()).status_code == 200


def test_probes_need_no_key() -> None:
    api = Caller(create_app(service(), key=KEY))
    assert (api.get("/healthz").status_code, api.get("/readyz").status_code) == (200, 200)


def test_a_page_below_an_open_path_needs_no_key() -> None:
    app = create_app(service(), key=KEY, open_paths=("/", "/page/*"))
    api = Caller(app)
    assert api.get("/page/main.js").status_code == 404
    assert api.get("/").status_code == 404
    assert api.get("/v1/models").status_code == 401
    assert api.get("/page").status_code == 401


def test_every_answer_carries_headers_against_misuse() -> None:
    api = Caller(create_app(service()))
    for response in (api.get("/healthz"), api.get("/nowhere"), api.post(URL, chat("fail")), api.post(URL, chat())):
        assert {name: response.headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
        assert response.headers["x-request-id"].startswith("req_")


def test_other_sites_pages_are_only_answered_where_they_are_allowed() -> None:
    origin = "https://pages.example"
    asked = {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization",
    }
    closed = Caller(create_app(service()))
    assert closed.request("OPTIONS", URL, headers=asked).status_code == 405
    assert "access-control-allow-origin" not in closed.post(URL, chat(), headers={"origin": origin}).headers

    opened = Caller(create_app(service(), key=KEY, origins=[origin]), authorization=f"Bearer {KEY}")
    assert opened.request("OPTIONS", URL, headers=asked).status_code == 200
    assert opened.post(URL, chat(), headers={"origin": origin}).headers["access-control-allow-origin"] == origin
    foreign = opened.post(URL, chat(), headers={"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in foreign.headers


def test_a_page_can_not_send_a_form_instead() -> None:
    api = Caller(create_app(service()))
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        response = api.request("POST", URL, content=b'{"model": "scenes"}', headers={"content-type": kind})
        assert error_of(response, 415)
