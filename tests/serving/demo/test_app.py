"""The demo's endpoints: the page's files, what it begins with, and the look into a reply."""

from __future__ import annotations

import io
from importlib import resources

import numpy as np
import pytest
from PIL import Image

from neuraltuning.analysis.inspection import inspect_reply
from neuraltuning.model import MultitaskModel
from neuraltuning.serving.api.app import create_app
from neuraltuning.serving.demo import look
from neuraltuning.serving.demo.app import PAGE, add_demo
from neuraltuning.serving.demo.examples import PICKED
from tests.serving.api.serving import Caller, chat, data_url, error_of, service
from tests.serving.demo.scripted import ScriptedEngine, scene

REPLY = "The dog <OBJ> and the car <OBJ>."


@pytest.fixture
def api(tiny_model: MultitaskModel) -> Caller:
    made = service(ScriptedEngine(tiny_model))
    app = create_app(made)
    add_demo(app, made)
    return Caller(app)


def picture() -> str:
    file = io.BytesIO()
    scene(3).image.save(file, "PNG")
    return data_url(file.getvalue())


def test_each_file_of_the_page_is_served_and_nothing_else(api: Caller) -> None:
    folder = resources.files("neuraltuning.serving.demo").joinpath("page")
    assert {file.name for file in folder.iterdir()} == {"index.html", *PAGE}
    for path, kind in (("/", "text/html"), *((f"/page/{name}", kind) for name, kind in PAGE.items())):
        response = api.get(path)
        assert response.status_code == 200
        assert response.headers["content-type"].startswith(kind)
        assert "require-trusted-types-for 'script'" in response.headers["content-security-policy"]
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "http://" not in response.text.replace("http://www.w3.org", "")
    for path in ("/page/index.html", "/page/app.py", "/page/..%2Fapp.py", "/page/"):
        error_of(api.get(path), 404)


def test_the_page_is_for_this_computer_alone(tiny_model: MultitaskModel) -> None:
    made = service(ScriptedEngine(tiny_model))
    app = create_app(made)
    add_demo(app, made)
    error_of(Caller(app, host="evil.example").get("/demo/session"), 421)


def test_a_session_has_examples_of_each_task(api: Caller) -> None:
    session = api.get("/demo/session").json()
    assert session["model"] == "scenes"
    assert session["palette"][0] == "#0072b2"
    assert len(session["examples"]) == len(PICKED)
    for number, example in enumerate(session["examples"]):
        tasks = [request["task"] for request in example["requests"]]
        assert set(tasks) == {"segment", "reason", "describe", "ask", "draw"} == set(session["able"])
        shown = np.asarray(Image.open(io.BytesIO(api.get(example["picture"]).content)))
        np.testing.assert_array_equal(shown, np.asarray(scene(number).image))
    error_of(api.get(f"/demo/examples/{len(PICKED)}"), 404)
    error_of(api.get("/demo/examples/-1"), 400)


def test_the_demo_adds_nothing_to_the_apis_schema(api: Caller) -> None:
    assert not [path for path in api.get("/openapi.json").json()["paths"] if "demo" in path or path == "/"]


def test_a_look_tells_what_the_inspection_found(api: Caller, tiny_model: MultitaskModel) -> None:
    text = "Please segment the dog and the car."
    asked = {**chat(text, picture()), "reply": REPLY}
    found = api.post("/demo/look", asked).json()
    inspected = inspect_reply(tiny_model, scene(3).image, text, REPLY)
    assert found["tokens"] == len(inspected.tokens)
    assert [layer["layer"] for layer in found["layers"]] == list(inspected.active)
    for layer in found["layers"]:
        assert layer["active"] == pytest.approx(inspected.active[layer["layer"]], abs=1e-5)
    assert [entry["index"] for entry in found["objects"]] == [0, 1]
    for entry, looked in zip(found["objects"], inspected.looks, strict=True):
        assert np.array(entry["patches"]) == pytest.approx(looked.map, abs=1e-5)
        assert np.array(entry["named"]) == pytest.approx(looked.described_map, abs=1e-5)
        assert entry["shares"]["names"] == pytest.approx(looked.shares["names"].mean(), abs=1e-4)


def test_a_look_knows_the_earlier_turns(api: Caller, tiny_model: MultitaskModel) -> None:
    asked = chat("How many are there?", picture())
    asked["messages"] += [{"role": "assistant", "content": "2"}, {"role": "user", "content": "Please segment both."}]
    found = api.post("/demo/look", {**asked, "reply": REPLY}).json()
    earlier = [("How many are there?", "2")]
    inspected = inspect_reply(tiny_model, scene(3).image, "Please segment both.", REPLY, earlier=earlier)
    assert np.array(found["objects"][0]["patches"]) == pytest.approx(inspected.looks[0].map, abs=1e-6)


def test_what_is_too_long_to_be_looked_into_is_refused(api: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    long = {**chat("word " * 5000, picture()), "reply": REPLY}
    assert "too long" in error_of(api.post("/demo/look", long), 400)["message"]
    monkeypatch.setattr(look, "MAX_POSITIONS", 30)
    error = error_of(api.post("/demo/look", {**chat("What is it?", picture()), "reply": REPLY}), 400)
    assert "up to 30 tokens" in error["message"]


@pytest.mark.parametrize(
    ("change", "status"),
    [({"model": "none"}, 404), ({"reply": ""}, 400), ({"messages": []}, 400), ({"words": ["dog"]}, 400)],
)
def test_a_bad_look_is_refused(api: Caller, change: dict[str, object], status: int) -> None:
    error_of(api.post("/demo/look", {**chat("What is it?", picture()), "reply": REPLY, **change}), status)
