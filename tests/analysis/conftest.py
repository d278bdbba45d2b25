"""A tiny run on squares, as `tune` would leave it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from neuraltuning.configuration import dump_settings, validate_settings
from neuraltuning.data.sample import Sample
from neuraltuning.model import MultitaskModel
from neuraltuning.tasks import get_task
from neuraltuning.training.settings import RunSettings
from tests.command_line import Run, command_line
from tests.tiny_models import lively, model_values, sample

TASKS = (
    *("referring_segmentation", "reasoning_segmentation", "captioning"),
    *("visual_question_answering", "text_to_image"),
)


@pytest.fixture(scope="session", autouse=True)
def _squares() -> Iterator[None]:
    """Squares instead of a data set, and short replies, since random models never end one."""

    def open_split(source: str, split: str, seed: int, size: int | None = None) -> list[Sample]:
        return [sample(number) for number in range(size or 8)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("neuraltuning.analysis.run_examples.open_split", open_split)
        for name in TASKS:
            patch.setattr(type(get_task(name)), "max_new_tokens", 6)
        yield


def write_run(folder: Path, parts: Path, **changes: Any) -> Path:
    """What `tune` leaves, without having tuned."""
    values = {
        "model": {**model_values(parts, names={"slots": 5}), **changes},
        "mixture": dict.fromkeys(TASKS, 1.0),
        "tuning": {"steps": 1, "batch_size": 1, "learning_rates": {"tuner": 1e-3}},
    }
    settings = validate_settings(RunSettings, values, "the test")
    lively(MultitaskModel.build(settings.model)).save_pretrained(folder / "model")
    (folder / "configuration.yaml").write_text(dump_settings(settings))
    return folder


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the frozen parts lie."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, parts: Path) -> Path:
    return write_run(tmp_path_factory.mktemp("run"), parts)


@pytest.fixture(scope="session")
def lora_run(tmp_path_factory: pytest.TempPathFactory, parts: Path) -> Path:
    tuner = {"method": "lora", "settings": {"lora": {"r": 4, "target_modules": ["q_proj", "v_proj"]}}}
    return write_run(tmp_path_factory.mktemp("lora"), parts, tuner=tuner)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return command_line(monkeypatch, capsys)


def strict_json(path: Path) -> dict[str, Any]:
    """A JSON file as other languages read it: NaN is none of its numbers."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{path} holds {constant}")

    loaded: dict[str, Any] = json.loads(path.read_text(), parse_constant=refuse)
    return loaded
