"""A small run on tiny models and a few squares."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from neuraltuning.configuration import validate_settings
from neuraltuning.data.sample import Sample
from neuraltuning.training.settings import RunSettings
from tests.tiny_models import model_values, sample

RATES = {"tuner": 1e-2, "projector": 1e-2, "task_tokens": 1e-2, "bridges": 1e-3, "decoders": 1e-3}
Make = Callable[..., RunSettings]


@pytest.fixture(autouse=True)
def _squares(monkeypatch: pytest.MonkeyPatch) -> None:
    """Squares instead of a data set, and one thread."""
    torch.set_num_threads(1)

    def open_split(source: str, split: str, seed: int, size: int | None = None) -> list[Sample]:
        start = 0 if split == "train" else 50
        return [sample(start + number) for number in range(size or 8)]

    monkeypatch.setattr("neuraltuning.training.run.open_split", open_split)


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the frozen parts lie."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture
def make(parts: Path) -> Make:
    """Makes the settings of a run of 6 steps; arguments replace keys of the stage `tuning` or of the run."""

    def settings(**changes: Any) -> RunSettings:
        stage = {
            "steps": 6,
            "batch_size": 2,
            "learning_rates": RATES,
            "warmup_steps": 2,
            "log_every": 1,
            "save_every": 3,
            "validation_samples": 3,
        }
        run: dict[str, Any] = {
            name: changes.pop(name)
            for name in ("alignment_images", "warmup", "reading", "mixture", "seed", "data", "evaluation")
            if name in changes
        }
        values = {
            "model": {**model_values(parts), **changes.pop("model", {})},
            "data": {"source": "squares", "row_length": 160},
            "mixture": {
                "referring_segmentation": 1.5,
                "captioning": 0.5,
                "visual_question_answering": 1,
                "text_to_image": 0.5,
            },
            "tuning": {**stage, **changes},
            **run,
        }
        return validate_settings(RunSettings, values, "the test")

    return settings


def stage(steps: int, *parts: str, **changes: Any) -> dict[str, Any]:
    """The settings of a stage that trains some parts; `changes` may hold keys that only one kind has."""
    return {
        "steps": steps,
        "batch_size": 2,
        "learning_rates": dict.fromkeys(parts, 1e-3),
        "warmup_steps": 1,
        "log_every": 1,
        "save_every": 2,
        "validation_samples": 2,
        **changes,
    }
