from __future__ import annotations

import asyncio
import email.utils
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from neuraltuning.errors import InputError, RunError
from neuraltuning.mmud.budget import Budget, Prices
from neuraltuning.mmud.client import Answer, ChatClient, Service, Unanswered
from neuraltuning.mmud.workers import Stop, run, work
from tests.mmud.chat_server import Asked, ChatServer, Reply, failed, said

KEY = "sk-secret-0123456789"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def service(server: ChatServer, **more: Any) -> Service:
    return Service(server.address, "eye", **{"backoff": 0.01, "timeout": 10.0, "retries": 2, **more})


class Asking:
    """Asks several texts of a service and keeps what comes of each."""

    def __init__(self, chosen: Service, *texts: str, spent: float = 0.0, input_tokens: float = 100.0) -> None:
        self.answers: dict[str, Answer] = {}
        self.unanswered: dict[str, Unanswered] = {}
        self.lost: list[tuple[str, float]] = []

        async def ask_all(stop: Stop) -> None:
            self.budget = Budget(chosen.prices, chosen.budget, spent, stop)

            async def ask(text: str) -> None:
                try:
                    self.answers[text] = await client.ask(
                        text, input_tokens, lambda detail, cost: self.lost.append((detail, cost))
                    )
                except Unanswered as error:
                    self.unanswered[text] = error

            async with ChatClient(chosen, self.budget, stop) as client:
                await work(texts, ask, chosen.concurrency, stop)

        self.run: Callable[[], None] = lambda: run(ask_all)


def asked(chosen: Service, *texts: str) -> Asking:
    asking = Asking(chosen, *texts)
    asking.run()
    return asking


def first(bad: Reply) -> Callable[[Asked], Reply]:
    """Behaves badly once."""
    return lambda request: bad if request.number == 0 else said("fine")


def test_an_answer_comes_with_its_counts_and_cost() -> None:
    with ChatServer(lambda request: said("fine", tokens=(2000, 500))) as server:
        asking = asked(service(server, prices=Prices(10.0, 40.0)), "How?")
    assert asking.answers["How?"] == Answer("fine", "stop", 2000, 500, 0.04)
    request = server.asked[0]
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.payload["model"] == "eye"
    assert request.payload["max_tokens"] == 1024


@pytest.mark.parametrize(
    ("said_text", "text"),
    [("<think>Hm.\nSo?</think>\n\nfine", "fine"), ("fine <think>", "fine <think>"), ("<think>too long", "")],
)
def test_thoughts_are_no_part_of_an_answer(said_text: str, text: str) -> None:
    with ChatServer(lambda request: said(said_text)) as server:
        assert asked(service(server), "How?").answers["How?"].text == text


@pytest.mark.parametrize(
    ("bad", "lost"),
    [
        (failed(429), []),
        (failed(500), []),
        (failed(503), []),
        (failed(408), []),
        (Reply(cut="before"), ["the connection was cut"]),
        (Reply(b'{"choices": []}' * 100, cut="middle"), ["the connection was cut"]),
        (Reply(b"<html>"), ["the reply is no chat completion"]),
        (Reply(b'{"choices": []}'), ["the reply is no chat completion"]),
        (Reply(b'{"choices": [{"message": null}]}'), ["the reply is no chat completion"]),
        (Reply(b"\xff\xfe"), ["the reply is no chat completion"]),
        (Reply(b"ok", headers={"content-type": "text/plain"}), ["the reply is no chat completion"]),
    ],
)
def test_what_passes_is_asked_again(bad: Reply, lost: list[str]) -> None:
    with ChatServer(first(bad)) as server:
        asking = asked(service(server), "How?")
    assert asking.answers["How?"].text == "fine"
    assert len(server.asked) == 2
    assert [detail.partition(" (")[0] for detail, _ in asking.lost] == lost


@pytest.mark.parametrize("late", [said("late", wait=2.0), Reply(said("late").body, trickle=0.1)])
def test_a_late_reply_is_asked_for_again_also_one_that_trickles_in(late: Reply) -> None:
    with ChatServer(first(late)) as server:
        asking = asked(service(server, timeout=1.0), "How?")
    assert asking.answers["How?"].text == "fine"
    assert asking.lost == [("no answer within 1 s", 0.0)]


def test_retries_are_bounded_and_the_pauses_grow() -> None:
    with ChatServer(lambda request: failed(500, "out of memory")) as server:
        asking = asked(service(server, backoff=0.1, retries=3), "How?")
    error = asking.unanswered["How?"]
    assert (error.reason, error.detail) == (
        "unanswered",
        'HTTP 500: {"error": {"message": "out of memory", "code": null}}, 4 tries',
    )
    pauses = [after.time - before.time for before, after in zip(server.asked, server.asked[1:], strict=False)]
    assert len(pauses) == 3
    for number, pause in enumerate(pauses):
        assert pause >= 0.05 * 2**number


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_holds_back_every_request(as_date: bool) -> None:
    def behave(request: Asked) -> Reply:
        if request.number:
            return said("fine")
        return failed(429, retry_after=email.utils.formatdate(time.time() + 2, usegmt=True) if as_date else "1")

    with ChatServer(behave) as server:
        asking = asked(service(server, concurrency=1), "a", "b")
    assert set(asking.answers) == {"a", "b"}
    assert server.asked[1].time - server.asked[0].time >= (0.8 if as_date else 1.0)


def test_a_request_that_the_server_rejects_is_not_repeated() -> None:
    with ChatServer(lambda request: failed(400, f"no picture for {KEY}")) as server:
        asking = asked(service(server), "How?")
    assert len(server.asked) == 1
    error = asking.unanswered["How?"]
    assert error.reason == "rejected"
    assert "no picture for ***" in error.detail
    assert KEY not in error.detail


def test_the_newer_name_of_the_length_is_learnt() -> None:
    def behave(request: Asked) -> Reply:
        return failed(400, "use max_completion_tokens") if "max_tokens" in request.payload else said("fine")

    with ChatServer(behave) as server:
        asking = asked(service(server, concurrency=1), "a", "b")
    assert set(asking.answers) == {"a", "b"}
    assert len(server.asked) == 3
    assert server.asked[2].payload["max_completion_tokens"] == 1024


@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        (failed(401, f"bad {KEY}"), "refuses the key in the environment variable OPENAI_API_KEY (HTTP 401)"),
        (failed(403), "refuses the key in the environment variable OPENAI_API_KEY (HTTP 403)"),
        (failed(404, f"none for {KEY}"), "knows no model 'eye', or its address ends elsewhere than at /v1 (HTTP 404"),
        (failed(402), "wants money first (HTTP 402"),
        (failed(429, code="insufficient_quota"), "wants money first (HTTP 429"),
    ],
)
def test_what_no_request_can_pass_ends_the_run(reply: Reply, sentence: str) -> None:
    with ChatServer(lambda request: reply) as server, pytest.raises(RunError) as caught:
        asked(service(server, concurrency=2), *"abcdefgh")
    assert sentence in str(caught.value)
    assert KEY not in str(caught.value)
    assert len(server.asked) <= 2


def test_a_key_that_is_wanted_and_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with ChatServer(lambda request: failed(401)) as server, pytest.raises(RunError, match="MINE, which is not set"):
        asked(service(server, key_variable="MINE"), "How?")
    assert KEY not in str(server.asked[0].headers)


def test_a_key_that_is_no_text_is_refused_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "schlüssel-0123456789")
    with ChatServer() as server, pytest.raises(InputError) as caught:
        asked(service(server), "How?")
    assert str(caught.value) == "The key in the environment variable OPENAI_API_KEY is no plain text."


def test_an_address_where_nothing_answers_is_named_at_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        started = time.monotonic()
        with pytest.raises(RunError, match=f"Nothing answers at {address}"):
            asked(Service(address, "eye"), "How?")
    assert time.monotonic() - started < 10  # the retries would take half a minute


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("localhost:8000", "is no address"),
        ("ftp://localhost/v1", "is no address"),
        ("http://", "is no address"),
        ("http://[::1", "is no address"),
        ("http://localhost:99999/v1", "is no address"),
        ("http://local host/v1", "is no address"),
        ("http://localhost/v1?a=b", "is no address"),
        (f"http://me:{KEY}@localhost/v1", "holds a user's name or password"),
    ],
)
def test_an_unusable_address_is_refused(address: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        Service(address, "eye")
    assert KEY not in str(caught.value)


def test_concurrency_and_pace_are_kept() -> None:
    with ChatServer(lambda request: said("fine", wait=0.05)) as server:
        asked(service(server, concurrency=3), *"abcdefghi")
        assert server.most_at_once == 3
    with ChatServer() as server:
        started = time.monotonic()
        asked(service(server, concurrency=4, requests_per_minute=1200), *"abcdefgh")
        assert time.monotonic() - started >= 7 * 0.05
    assert len(server.asked) == 8


@pytest.mark.parametrize("tokens", [(1000, 100), (4000, 100), None])
def test_the_budget_is_not_passed_with_many_at_once(tokens: tuple[int, int] | None) -> None:
    """The estimate is 1,000 tokens of input; the server counts as many, four times as many, or none."""
    prices = Prices(1000.0, 1000.0)
    with ChatServer(lambda request: said("fine", tokens=tokens, wait=0.02)) as server:
        chosen = service(server, concurrency=16, prices=prices, budget=50.0, max_tokens=100)
        asking = Asking(chosen, *map(str, range(200)), spent=10.0, input_tokens=1000.0)
        with pytest.raises(RunError, match=r"The budget of 50\.00 does not allow another request: \d+\.\d+ is spent"):
            asking.run()
    assert asking.lost == []
    counted = tokens or (1100, 100)  # uncounted ones are booked as they were set aside
    assert asking.budget.spent == pytest.approx(10.0 + sum(counted) * len(server.asked) / 1000)
    most = 1.1 * counted[0] / 1000 + 0.1
    assert 50.0 - most < asking.budget.spent <= 50.0
    assert len(asking.answers) == len(server.asked)


def test_lost_answers_count_as_spent() -> None:
    with ChatServer(lambda request: Reply(cut="before")) as server:
        chosen = service(server, prices=Prices(1000.0, 1000.0), budget=2.5, max_tokens=900, retries=9)
        asking = Asking(chosen, "How?")
        with pytest.raises(RunError, match="The budget"):
            asking.run()
    assert len(server.asked) == 2
    assert [cost for _, cost in asking.lost] == pytest.approx([1.01, 1.01])
    assert asking.budget.spent == pytest.approx(2.02)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with ChatServer() as server, pytest.raises(InputError, match=r"pip install 'neuraltuning\[mmud\]'"):
        asked(service(server), "How?")


def test_a_budget_without_prices_is_refused() -> None:
    with pytest.raises(InputError, match="--budget needs --input-price and --output-price"):
        Service("http://localhost/v1", "eye", budget=1.0)


def test_a_stop_lets_what_is_on_its_way_arrive() -> None:
    with ChatServer(lambda request: said("fine", wait=0.2)) as server:
        chosen = service(server, concurrency=2)
        done: list[str] = []

        async def ask_all(stop: Stop) -> None:
            async def ask(text: str) -> None:
                asyncio.get_running_loop().call_later(0.1, stop.set)
                done.append((await client.ask(text, 1.0, lambda detail, cost: None)).text)

            async with ChatClient(chosen, Budget(chosen.prices, None, 0.0, stop), stop) as client:
                await work("abcdef", ask, chosen.concurrency, stop)

        run(ask_all)
    assert done == ["fine", "fine"]
    assert len(server.asked) == 2
