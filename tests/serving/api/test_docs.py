"""The examples of docs/serving.md run as they stand, against a server on an engine of rules."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from neuraltuning.serving.api.app import create_app
from neuraltuning.serving.api.service import ModelCard
from neuraltuning.serving.cli import serve
from tests.serving.api.fake_engine import FakeEngine
from tests.serving.api.serving import Caller, chat, data_url, png, service, serving

PAGE = (Path(__file__).parents[3] / "docs" / "serving.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8000"


def blocks(language: str) -> list[str]:
    """The page's blocks of code in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server with the page's model; the page's picture is in the working folder."""
    monkeypatch.chdir(tmp_path)
    Path("scene.png").write_bytes(png(6, 4))
    made = service()
    made.open(FakeEngine(), {"quickstart": ModelCard("quickstart", 1_700_000_000, ("<OBJ>", "<GEN>"))})
    with serving(create_app(made)) as started:
        yield started


def test_the_python_examples_run_one_after_the_other(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    for code in blocks("python"):
        exec(code.replace(ADDRESS, address), names)
    assert names["message"].content == "The cat <OBJ> and the dog <OBJ>."
    assert names["reply"].choices[0].message.content == "What is in the background? after 1"
    assert "What is in the background? after 1" in capsys.readouterr().out
    assert Image.open("dogs.png").size == (8, 8)


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl is installed")
def test_the_curl_examples_are_answered(address: str) -> None:
    answers = []
    for script in blocks("bash"):
        done = subprocess.run(
            ["bash", "-ec", script.replace(ADDRESS, address)], capture_output=True, text=True, check=True
        )
        answers.append(json.loads(done.stdout))
    assert [answer.get("object") for answer in answers] == ["chat.completion", "segmentation", None]
    assert answers[2]["data"][0]["b64_json"]


def keys(value: Any) -> Any:
    """The shape of JSON: its keys, with one entry of each list."""
    if isinstance(value, dict):
        return {key: keys(inner) for key, inner in value.items()}
    return [keys(inner) for inner in value[:1]] if isinstance(value, list) else None


def test_the_responses_look_as_the_page_shows_them() -> None:
    api = Caller(create_app(service()))
    message, segmentation = map(json.loads, blocks("json"))
    url = data_url(png())
    assert keys(api.post("/v1/chat/completions", chat("segment", url)).json()["choices"][0]["message"]) == keys(message)
    body = {"model": "scenes", "image": url, "text": "segment"}
    assert keys(api.post("/v1/segment", body).json()) == keys(segmentation)


def test_every_option_and_figure_is_on_the_page() -> None:
    options = {"--" + name.replace("_", "-") for name in serve.__annotations__} - {"--models", "--return"}
    assert {option for option in options if option not in PAGE} == {"--port"}
    shown = Caller(create_app(service())).get("/metrics").text
    named = {line.split()[2] for line in shown.splitlines() if line.startswith("# TYPE neuraltuning")}
    assert {"neuraltuning_requests_total", "neuraltuning_engine_running"} <= named
    assert {name for name in named if f"`{name}`" not in PAGE and not name.endswith("_created")} == set()


def test_every_code_of_an_error_is_on_the_page() -> None:
    folder = Path(__file__).parents[3] / "src" / "neuraltuning" / "serving" / "api"
    source = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    codes = set(re.findall(r'code="(\w+)"', source))
    assert len(codes) > 10
    assert {code for code in codes if f"`{code}`" not in PAGE} == set()
