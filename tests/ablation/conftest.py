"""Small grids on tiny models and a few squares."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from neuraltuning.ablation.grid import Grid, GridSettings, expand
from neuraltuning.configuration import validate_settings
from neuraltuning.data.sample import Sample
from tests.tiny_models import sample
from tests.training.conftest import Make, _squares, make, parts, stage

__all__ = ["_squares", "make", "parts"]

MakeGrid = Callable[..., Grid]


@pytest.fixture(autouse=True)
def _scored_squares(monkeypatch: pytest.MonkeyPatch) -> None:
    def open_split(source: str, split: str, seed: int, size: int | None = None) -> list[Sample]:
        return [sample(100 + number) for number in range(size or 8)]

    monkeypatch.setattr("neuraltuning.ablation.run.open_split", open_split)
    monkeypatch.setattr("neuraltuning.ablation.run.category_names", lambda source: None)


@pytest.fixture
def base(make: Make) -> dict[str, Any]:
    """What the base YAML of a grid holds: a run of two short stages."""
    settings = make(
        steps=2,
        warmup=stage(2, "bridges", "decoders", prepare_images=4),
        alignment_images=4,
        mixture={"referring_segmentation": 1.0, "visual_question_answering": 1.0},
        evaluation={"samples": {"test": 3}, "batch_size": 4},
    )
    return settings.model_dump(mode="json")


@pytest.fixture
def make_grid(base: dict[str, Any]) -> MakeGrid:
    """A grid of one study `rate` over the base; arguments replace the study's keys or the grid's."""

    def grid(**changes: Any) -> Grid:
        study: dict[str, Any] = {
            "question": "Does it matter?",
            "task": "referring_segmentation",
            "reference": "plain",
            "variants": {"plain": {}, "LoRA": {"set": {"model.tuner.method": "lora"}, "expect": "lower"}},
        }
        for name in list(changes):
            if name in study:
                study[name] = changes.pop(name)
        values = {"base": "base.yaml", "seeds": [0, 1], "studies": {"rate": study}, **changes}
        return expand(validate_settings(GridSettings, values, "grid.yaml"), base, "grid.yaml")

    return grid


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Folder of the results."""
    folder = tmp_path / "results"
    folder.mkdir()
    return folder
