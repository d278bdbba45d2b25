from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from neuraltuning.mmud.review.queue import ReviewQueue
from neuraltuning.mmud.workspace import Workspace
from tests.mmud.review.tagged import write_tagged


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with seven tagged scenes, which no test changes."""
    return write_tagged(tmp_path_factory.mktemp("tagged"), train=7).folder


@pytest.fixture
def workspace(template: Path, tmp_path: Path) -> Workspace:
    """A test's own copy of it."""
    return Workspace(shutil.copytree(template, tmp_path / "work"))


@pytest.fixture
def queue(workspace: Workspace) -> ReviewQueue:
    return ReviewQueue(workspace)
