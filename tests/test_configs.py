"""The configurations that the repository ships."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from neuraltuning.configuration import dump_settings, load_settings
from neuraltuning.model_settings import StateSettings
from neuraltuning.tasks import get_task
from neuraltuning.training.settings import RunSettings

FOLDER = Path(__file__).parents[1] / "configs"
CONFIGS = sorted(FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_configuration_loads_and_survives_being_written(path: Path, tmp_path: Path) -> None:
    settings = load_settings(RunSettings, path)
    (tmp_path / "copy.yaml").write_text(dump_settings(settings), encoding="utf-8")
    assert load_settings(RunSettings, tmp_path / "copy.yaml") == settings
    for name in settings.mixture:
        assert get_task(name).name == name


@pytest.mark.parametrize(
    "path", [path for path in CONFIGS if "decoders: {}" not in path.read_text()], ids=lambda path: path.stem
)
def test_every_key_of_the_state_is_written_out(path: Path) -> None:
    """`words` among them: at its default of none, nothing of a text is compared with the image."""
    written = yaml.safe_load(path.read_text(encoding="utf-8"))["model"]["state"]
    assert set(written) == set(StateSettings.model_fields)
    assert load_settings(RunSettings, path).model.state.words == written["words"] > 0


def test_the_benchmark_trains_the_quickstarts_model_on_its_data() -> None:
    quickstart, benchmark = (
        load_settings(RunSettings, FOLDER / f"{name}.yaml") for name in ("quickstart", "benchmark")
    )
    for part in ("seed", "data"):
        assert getattr(benchmark, part) == getattr(quickstart, part), part
    # how pictures are seen, and what draws masks, is all that differs
    mask = {"mask": benchmark.model.decoders["mask"]}
    larger = {"encoder": "efficientnet-lite0-320", "pooling": 1, "decoders": quickstart.model.decoders | mask}
    assert benchmark.model == quickstart.model.model_copy(update=larger)
    assert benchmark.mixture.keys() == quickstart.mixture.keys()


def test_there_are_configurations() -> None:
    assert "quickstart" in {path.stem for path in CONFIGS}
