"""The command `neuraltuning serve` as a process: what it refuses, its start, and its end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from neuraltuning.cli import app
from neuraltuning.errors import InputError
from neuraltuning.serving.api import server as api_server
from neuraltuning.serving.cli import KEY_VARIABLE, model_folders
from tests.serving.api.serving import chat, data_url, png

URL = "/v1/chat/completions"
SCRIPT = """
import logging, time
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # as `main` does, before it is imported
from types import SimpleNamespace
from neuraltuning.errors import InputError
from neuraltuning.serving import engine, models
from tests.serving.api.fake_engine import FakeEngine

def load_models(folders):
    time.sleep({loading})
    if {broken}:
        raise InputError("This is no model.")
    return {{name: SimpleNamespace(decoders_by_token={{"<OBJ>": None}}) for name in folders}}

models.load_models = load_models
engine.Engine = lambda models, **options: FakeEngine(pause={pause})
from neuraltuning.cli import main
main()
"""


class Server:
    """A server's process on an engine of rules."""

    def __init__(
        self, folder: Path, *options: str, loading: float = 0.0, broken: bool = False, pause: float = 0.3
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        script = SCRIPT.format(loading=loading, broken=broken, pause=pause)
        command = [sys.executable, "-c", script, "serve", str(folder), "--port", str(port), *options]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    def wait_for(self, path: str, status: int) -> httpx.Response:
        """Asks until the answer has a status."""
        end = time.monotonic() + 60
        while time.monotonic() < end and self.process.poll() is None:
            try:
                response = httpx.get(self.address + path)
            except httpx.TransportError:
                time.sleep(0.05)
                continue
            if response.status_code == status:
                return response
            time.sleep(0.02)
        raise AssertionError(f"{path} never answered {status}")

    def told(self) -> tuple[int, str]:
        """Its exit status and what it said, once it ended."""
        _, said = self.process.communicate(timeout=60)
        return self.process.returncode, said


@contextmanager
def started(folder: Path, *options: str, **behaviour: Any) -> Iterator[Server]:
    server = Server(folder, *options, **behaviour)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "scenes").mkdir()
    return tmp_path / "scenes"


def test_it_loads_serves_and_drains(folder: Path) -> None:
    with started(folder, loading=0.5, pause=0.6) as server:
        assert server.wait_for("/readyz", 503).json()["error"]["code"] == "loading"
        assert httpx.get(f"{server.address}/healthz").status_code == 200
        server.wait_for("/readyz", 200)
        body = chat("segment", data_url(png()), stream=True)
        with httpx.stream("POST", server.address + URL, json=body, timeout=20) as response:
            lines = response.iter_lines()
            assert "assistant" in next(lines)
            server.process.send_signal(signal.SIGTERM)
            server.wait_for("/readyz", 503)
            refused = httpx.post(server.address + URL, json=chat())
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
            assert httpx.get(f"{server.address}/healthz").status_code == 200
            assert [line for line in lines if line][-1] == "data: [DONE]"
        status, said = server.told()
    assert (status, said.count("\n")) == (0, 2)
    assert said.startswith(f"Serving scenes at {server.address}/v1")
    assert said.endswith("Stopped.\n")


def test_what_is_not_finished_in_time_ends_with_an_error(folder: Path) -> None:
    with started(folder, "--drain", "0.2") as server:
        server.wait_for("/readyz", 200)
        body = chat("segment", data_url(png()), stream=True)
        with httpx.stream("POST", server.address + URL, json=body, timeout=20) as response:
            lines = response.iter_lines()
            assert "assistant" in next(lines)
            server.process.send_signal(signal.SIGINT)
            last = [line for line in lines if line][-1]
        assert json.loads(last.removeprefix("data: "))["error"]["code"] == "draining"
        status, said = server.told()
    assert status == 0
    assert "1 requests were not answered in time" in said


def test_told_twice_it_stops_at_once(folder: Path) -> None:
    with started(folder, pause=5.0) as server:
        server.wait_for("/readyz", 200)
        with httpx.stream("POST", server.address + URL, json=chat("segment", stream=True), timeout=20) as response:
            lines = response.iter_lines()  # held, because the request is broken off with its iterator
            assert "assistant" in next(lines)
            server.process.send_signal(signal.SIGINT)
            server.wait_for("/readyz", 503)
            start = time.monotonic()
            server.process.send_signal(signal.SIGINT)
            assert server.told()[0] == 0
            assert time.monotonic() - start < 10


def test_a_model_that_can_not_be_loaded_ends_it(folder: Path) -> None:
    with started(folder, broken=True) as server:
        assert server.told() == (2, "This is no model.\n")


def refusal(*arguments: str, key: str | None = None) -> str:
    """What the command says when it doesn't start."""
    result = CliRunner().invoke(app, ["serve", *arguments], env={KEY_VARIABLE: key})
    assert isinstance(result.exception, InputError)
    return str(result.exception)


def test_other_addresses_need_a_key(folder: Path) -> None:
    for host in ("0.0.0.0", "::"):
        assert "set an API key" in refusal(str(folder), "--host", host)
    assert "not known here" in refusal(str(folder), "--host", "nowhere.invalid")


def test_a_key_is_one_word(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "key"
    for content in ("", "two words", "ä"):
        file.write_text(content)
        assert "choose another one" in refusal(str(folder), "--api-key-file", str(file))
        assert "choose another one" in refusal(str(folder), key=content)
    assert "can't be read" in refusal(str(folder), "--api-key-file", str(tmp_path))
    file.write_text("word\n")
    assert "not in both" in refusal(str(folder), "--api-key-file", str(file), key="word")


def test_a_port_that_is_taken_is_named(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"Port {port} can't be used" in refusal(str(folder), "--port", str(port))


def test_earlier_turns_are_read_in_one_of_three_ways(folder: Path) -> None:
    assert "referred, always, never; not 'sometimes'" in refusal(str(folder), "--earlier-turns", "sometimes")


def test_only_names_can_be_allowed_as_hosts(folder: Path) -> None:
    assert "can't be allowed" in refusal(str(folder), "--allow-image-host", "127.0.0.1", "--port", "0")


def test_models_are_named_by_their_folders_or_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two", "a=b"):
        (tmp_path / name).mkdir()
    assert model_folders(["one", "second=two"]) == {"one": Path("one"), "second": Path("two")}
    assert model_folders(["a=b", "c=a=b"]) == {"a=b": Path("a=b"), "c": Path("a=b")}
    assert model_folders([".", "one/"]) == {tmp_path.name: Path("."), "one": Path("one/")}
    with pytest.raises(InputError, match="There is no folder nothing"):
        model_folders(["one", "nothing"])
    with pytest.raises(InputError, match="Two models are called 'one'"):
        model_folders(["one", "one=two"])


def test_help_needs_nothing_heavy() -> None:
    code = "import sys, neuraltuning.serving.cli\nprint('torch' in sys.modules or 'fastapi' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == "False"


def test_no_packet_waits_for_another_ones_acknowledgement(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nagle's algorithm and a client's delayed acknowledgement cost each answer 40 ms."""
    at_once = []

    def accept(server: api_server.DrainingServer, sockets: list[socket.socket]) -> None:
        with socket.create_connection(sockets[0].getsockname()), sockets[0].accept()[0] as accepted:
            at_once.append(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    monkeypatch.setattr(api_server.DrainingServer, "run", accept)
    monkeypatch.setattr(api_server._Loading, "start", lambda loading: None)
    monkeypatch.setattr(api_server._Loading, "finish", lambda loading: None)
    monkeypatch.setattr(api_server, "keep_memory_steady", lambda: None)
    api_server.serve({}, api_server.ServerSettings(port=0), lambda address: None)
    assert at_once == [1]
