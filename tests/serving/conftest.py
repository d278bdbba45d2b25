"""Tiny models that write task tokens, and engines that are closed again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from neuraltuning.model import MultitaskModel
from neuraltuning.serving.engine import Engine
from tests.serving.asking import lively_writer
from tests.tiny_models import model_settings


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the frozen parts of tiny models."""
    return tmp_path_factory.mktemp("parts")


@pytest.fixture(scope="session")
def wild(parts: Path) -> MultitaskModel:
    """A tiny model that writes words and task tokens at random, but always the same."""
    return lively_writer(MultitaskModel.build(model_settings(parts)))


@pytest.fixture
def start() -> Iterator[Callable[..., Engine]]:
    """Starts engines, and closes them after the test."""
    engines: list[Engine] = []

    def started(*models: MultitaskModel, **settings: Any) -> Engine:
        engines.append(Engine({f"m{number}": model for number, model in enumerate(models)}, **settings))
        return engines[-1]

    yield started
    for engine in engines:
        engine.close(0.0)
