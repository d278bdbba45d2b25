"""The command `neuraltuning demo`: which model it takes, and what it refuses."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from neuraltuning.errors import InputError
from neuraltuning.model import MultitaskModel
from neuraltuning.serving.demo.cli import model_folder, model_name


def test_without_a_model_it_is_the_quickstarts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"There is no runs/quickstart: run `make quickstart` first, or name"):
        model_folder(None)
    (tmp_path / "runs" / "quickstart").mkdir(parents=True)
    assert model_folder(None) == Path("runs/quickstart")


def test_a_folder_that_is_missing_is_said(tmp_path: Path) -> None:
    assert model_folder(tmp_path) == tmp_path
    with pytest.raises(InputError, match=r"There is no folder .*none; `neuraltuning tune` writes one"):
        model_folder(tmp_path / "none")


@pytest.mark.parametrize(
    ("folder", "name"), [("mine-2.1", "mine-2.1"), ("my run", "myrun"), (".hidden", "hidden"), ("модель", "model")]
)
def test_a_model_is_called_as_its_folder_if_it_can_be(tmp_path: Path, folder: str, name: str) -> None:
    assert model_name(tmp_path / folder) == name


def test_the_page_is_served_until_ctrl_c(tiny_model: MultitaskModel, tmp_path: Path) -> None:
    tiny_model.save_pretrained(tmp_path / "tiny")
    command = [sys.executable, "-m", "neuraltuning", "demo", str(tmp_path / "tiny"), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            line = next(line for line in process.stderr if "http://" in line)
            assert "Try tiny at http://127.0.0.1:" in line
            address = re.findall(r"http://\S+", line)[0]
            assert "<title>neuraltuning</title>" in httpx.get(address).text
            assert httpx.get(f"{address}demo/session").json()["model"] == "tiny"
        finally:
            process.send_signal(signal.SIGINT)
        assert process.stderr.read().endswith("Stopped.\n")
    assert process.returncode == 0
