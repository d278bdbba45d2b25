"""The command `neuraltuning demo`: which model it takes, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuraltuning.errors import InputError
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
