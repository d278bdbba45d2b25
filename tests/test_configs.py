"""The configurations that the repository ships."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuraltuning.configuration import dump_settings, load_settings
from neuraltuning.tasks import get_task
from neuraltuning.training.settings import RunSettings

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_configuration_loads_and_survives_being_written(path: Path, tmp_path: Path) -> None:
    settings = load_settings(RunSettings, path)
    (tmp_path / "copy.yaml").write_text(dump_settings(settings), encoding="utf-8")
    assert load_settings(RunSettings, tmp_path / "copy.yaml") == settings
    for name in settings.mixture:
        assert get_task(name).name == name


def test_there_are_configurations() -> None:
    assert "quickstart" in {path.stem for path in CONFIGS}
