"""The scripts under `benchmarks/` run; what they measure is no test's business."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from neuraltuning.configuration import validate_settings
from neuraltuning.model import MultitaskModel
from neuraltuning.model_settings import ModelSettings
from tests.tiny_models import llm_folder, model_values

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.parametrize(
    ("script", "arguments", "keys"),
    [
        ("tuner_layer", "--hidden 128 --tokens 8 --seconds 0.05", {"step", "prefill", "decode"}),
        (
            "tuner_speed",
            "--shape smollm2-135m --layers 1 --tokens 33 --what decode --seconds 0",
            {"neural_tuning/bare"},
        ),
        ("loader", "--records 300", {"images_per_second", "resident_mb"}),
        ("loader", "--data stored --images 20 --seconds 0 --consumed 3.7", {"ratio"}),
        ("tuner_memory", "--shape smollm2-135m --layers 1 --tokens 8", {"neural_tuning", "lora", "bare"}),
    ],
)
def test_a_benchmark_runs_and_prints_json(script: str, arguments: str, keys: set[str]) -> None:
    done = subprocess.run(
        [sys.executable, str(FOLDER / f"{script}.py"), *arguments.split()],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    printed = done.stdout[done.stdout.index("{") :]
    assert all(key in printed for key in keys)
    json.loads(printed)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved tiny model with room for the texts of Scenes."""
    parts = tmp_path_factory.mktemp("parts")
    values = model_values(parts)
    values["llm"] = str(llm_folder(parts / "long", max_position_embeddings=2048))
    model = MultitaskModel.build(validate_settings(ModelSettings, values, "the test"))
    return model.save_pretrained(parts / "model")


@pytest.mark.parametrize(
    ("script", "images", "keys"),
    [
        ("engine", 3, {"throughput", "waiting", "sameness", "steps"}),
        ("turns", 4, {"question", "object", "follow_up"}),
    ],
)
def test_a_benchmark_of_a_model_runs(folder: Path, tmp_path: Path, script: str, images: int, keys: set[str]) -> None:
    output = tmp_path / "found.json"
    done = subprocess.run(
        [sys.executable, str(FOLDER / f"{script}.py"), str(folder), "--images", str(images), "--output", str(output)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert keys <= set(json.loads(output.read_text()))


def test_the_servers_benchmark_runs_and_finds_no_wrong_answer(folder: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(FOLDER / "serving.py"), str(folder), "--quick", "--output", str(tmp_path / "found.json")],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert {"throughput", "waiting", "soak", "machine"} <= set(found)
    soak = found["soak"]
    assert (soak["identical"] + soak["rounding"], soak["refused"]) == (48, 12)
