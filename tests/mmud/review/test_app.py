"""The review page's server, over HTTP."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from neuraltuning.mmud.records import Annotation, Tagging
from neuraltuning.mmud.review.app import PAGE, create_app
from neuraltuning.mmud.review.queue import ReviewQueue
from neuraltuning.mmud.workspace import Workspace

HOME = "http://127.0.0.1:8765"


@pytest.fixture
def client(queue: ReviewQueue) -> TestClient:
    return TestClient(create_app(queue), base_url=HOME)


def decision(**fields: Any) -> dict[str, Any]:
    return {"reviewer": "ada", "decision": "accept", "answer": "The magnet <OBJ-1>.", **fields}


def test_an_item_is_described(client: TestClient, queue: ReviewQueue) -> None:
    item = client.get("/api/items/6", params={"reviewer": "ada"}).json()
    assert item["id"] == queue.items[6]
    assert item["answer"] == item["proposed"] == queue.tagging(queue.items[6]).answer
    assert item["question"] == queue.annotation(queue.items[6]).question
    assert [entry["number"] for entry in item["objects"]] == [1, 2, 3, 4, 5]
    assert item["objects"][4]["category"] == "key"
    assert item["decision"] is None


def test_picture_and_masks_fit_on_each_other(client: TestClient, queue: ReviewQueue) -> None:
    sample = queue.sample(queue.items[6])
    picture = client.get("/api/items/6/picture")
    assert picture.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(picture.content)).size == sample.image.size
    for index, entry in enumerate(sample.objects):
        drawn = Image.open(io.BytesIO(client.get(f"/api/items/6/masks/{index + 1}").content)).convert("RGBA")
        alpha = np.asarray(drawn)[..., 3]
        assert alpha.shape == entry.mask.shape
        assert (alpha[entry.mask] > 100).all()
        grown = alpha > 0
        assert not (grown & ~entry.mask).sum() > entry.mask.sum()


def test_a_large_picture_is_shown_smaller_with_its_masks(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neuraltuning.mmud.review.pictures.MAX_SIDE", 100)
    item = client.get("/api/items/0", params={"reviewer": "ada"}).json()
    assert (item["width"], item["height"]) == (100, 100)
    for name in ("picture", "masks/1"):
        assert Image.open(io.BytesIO(client.get(f"/api/items/0/{name}").content)).size == (100, 100)


def test_decisions_are_kept_apart_and_compared(client: TestClient, workspace: Workspace) -> None:
    assert client.post("/api/items/0/decision", json=decision()).status_code == 200
    assert client.post("/api/items/0/decision", json=decision(reviewer="bob")).status_code == 200
    rejected = decision(reviewer="bob", decision="reject", reason="No.")
    assert client.post("/api/items/1/decision", json=rejected).status_code == 200
    assert client.get("/api/decisions", params={"reviewer": "ada"}).json() == ["accept", *[None] * 6]
    assert client.get("/api/decisions", params={"reviewer": "bob"}).json() == ["accept", "reject", *[None] * 5]
    mine = client.get("/api/items/0", params={"reviewer": "ada"}).json()
    assert (mine["decision"], mine["answer"]) == ("accept", "The magnet <OBJ-1>.")
    theirs = client.get("/api/items/1", params={"reviewer": "bob"}).json()
    assert (theirs["decision"], theirs["reason"]) == ("reject", "No.")
    found = client.get("/api/agreement").json()
    assert found["pairs"][0]["reviewers"] == ["ada", "bob"]
    assert (found["pairs"][0]["items"], found["pairs"][0]["equal"], found["pairs"][0]["tags"]) == (1, 1, 1)
    assert len(list(workspace.reviews)) == 3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"answer": "The magnet."}, "The answer has no tag"),
        ({"answer": "The magnet <OBJ-2>."}, "The tag <OBJ-2> means no object"),
        ({"reviewer": " "}, "A reviewer's name"),
        ({"reviewer": "x" * 61}, "reviewer: string should have at most 60 characters"),
        ({"decision": "maybe"}, "decision: input should be 'accept' or 'reject'"),
        ({"decision": "reject"}, "A rejection needs a reason"),
        ({"answer": 3}, "answer: input should be a valid string"),
        ({"answer": "x" * 20_001}, "answer: string should have at most 20000 characters"),
        ({"path": "/etc"}, "path: extra inputs are not permitted"),
    ],
)
def test_a_decision_that_can_not_be_used_is_refused(
    client: TestClient, workspace: Workspace, fields: dict[str, Any], message: str
) -> None:
    reply = client.post("/api/items/0/decision", json=decision(**fields))
    assert reply.status_code == 422
    assert message in reply.json()["detail"]
    assert not workspace.reviews.path.exists()


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", "", "[", "10.0.0.1"])
def test_a_foreign_name_for_this_computer_is_refused(client: TestClient, host: str) -> None:
    for address in ("/", "/api/items/0?reviewer=ada", "/api/items/0/picture"):
        reply = client.get(address, headers={"host": host})
        assert reply.status_code == 421
        assert "magnet" not in reply.text


def test_loopback_names_are_served_at_any_port(client: TestClient) -> None:
    for host in ("localhost:9000", "127.0.0.1", "[::1]:8765"):
        assert client.get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://127.0.0.1:9999"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"origin": HOME, "sec-fetch-site": "same-origin"}, 200),
        ({"content-type": "application/json; charset=utf-8"}, 200),
    ],
)
def test_only_its_own_page_decides(client: TestClient, headers: dict[str, str], status: int) -> None:
    sent = {"content-type": "application/json", **headers}
    reply = client.post("/api/items/0/decision", content=json.dumps(decision()), headers=sent)
    assert reply.status_code == status


def test_large_and_endless_bodies_are_refused(client: TestClient) -> None:
    headers = {"content-type": "application/json"}
    assert client.post("/api/items/0/decision", content=b" " * 200_000, headers=headers).status_code == 413
    parts = (b" " for _ in range(3))  # sent in chunks, without a length
    assert client.post("/api/items/0/decision", content=parts, headers=headers).status_code == 413


@pytest.mark.parametrize(
    "address",
    [
        "/api/items/7?reviewer=ada",
        "/api/items/7/picture",
        "/api/items/0/masks/2",
        "/page/index.html",
        "/page/..%2fapp.py",
        "/page/%2e%2e/app.py",
        "/../../etc/passwd",
        "/docs",
        "/openapi.json",
    ],
)
def test_there_is_nothing_else(client: TestClient, address: str) -> None:
    assert client.get(address).status_code == 404


@pytest.mark.parametrize("address", ["/api/items/-1/picture", "/api/items/x/picture", "/api/items/0/masks/0"])
def test_numbers_are_numbers(client: TestClient, address: str) -> None:
    assert client.get(address).status_code == 422


def test_the_page_is_whole_and_loads_nothing_from_elsewhere(client: TestClient) -> None:
    index = client.get("/")
    assert "default-src 'none'" in index.headers["content-security-policy"]
    assert "unsafe" not in index.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in index.headers["content-security-policy"]
    named = set(re.findall(r'"(/page/[^"]*)"', index.text))
    for address in list(named):
        named |= {*re.findall(r'from "([^"]*)"', client.get(address).text)}
    assert named == {f"/page/{name}" for name in PAGE}
    for text in [index.text, *(client.get(address).text for address in named)]:
        assert "http://" not in text
        assert "https://" not in text
        assert "innerHTML" not in text


def test_text_stays_text(workspace: Workspace) -> None:
    item = workspace.ids()[0]
    hostile = "</script><script>alert(1)</script>"
    kept = workspace.annotations.last()[item]
    workspace.annotations.append(Annotation(**{**kept.model_dump(), "question": hostile}))
    workspace.taggings.append(Tagging(id=item, answer=f"{hostile} <OBJ-1>"))
    reply = TestClient(create_app(ReviewQueue(workspace)), base_url=HOME).get("/api/items/0?reviewer=ada")
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.json()["question"] == hostile


def test_a_full_disk_is_said(client: TestClient, workspace: Workspace) -> None:
    workspace.reviews.path.mkdir()
    reply = client.post("/api/items/0/decision", json=decision())
    assert reply.status_code == 500
    assert "Could not write" in reply.json()["detail"]
