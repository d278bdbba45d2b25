"""Grids from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from neuraltuning.ablation.over import grid_over, values_of
from neuraltuning.errors import InputError

CONFIGURATION = Path(__file__).parents[2] / "configs" / "quickstart.yaml"


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.1:0.5:0.1", [0.1, 0.2, 0.3, 0.4, 0.5]),
        ("0.1:1.0:0.1", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]),
        ("4:1:-1", [4, 3, 2, 1]),
        ("1e-3:3e-3:1e-3", [0.001, 0.002, 0.003]),
        ("0.2,0.4", [0.2, 0.4]),
        ("[qv, kv]", ["qv", "kv"]),
        ("true,false", [True, False]),
    ],
)
def test_values(text: str, values: list[Any]) -> None:
    assert values_of(text, "--over x") == values


def test_all_combinations_of_settings_by_short_and_dotted_names() -> None:
    grid = grid_over(CONFIGURATION, ["alpha=0.1,0.9", "tuning.learning_rates.tuner=1e-3,2e-3"], [0, 1], None)
    [study] = grid.studies.values()
    assert grid.seeds == [0, 1]
    assert list(study.variants) == [
        "alpha 0.1, tuner 0.001",
        "alpha 0.1, tuner 0.002",
        "alpha 0.9, tuner 0.001",
        "alpha 0.9, tuner 0.002",
    ]
    assert study.reference == "alpha 0.1, tuner 0.001"
    assert study.variants["alpha 0.9, tuner 0.001"].set == {
        "model.tuner.settings.neural_tuning.alpha": 0.9,
        "tuning.learning_rates.tuner": 1e-3,
    }


def test_the_tuner_itself() -> None:
    grid = grid_over(CONFIGURATION, ["tuner=neural_tuning,lora"], [0], "captioning")
    [study] = grid.studies.values()
    assert study.task == "captioning"
    assert study.variants["method lora"].set == {"model.tuner.method": "lora"}


@pytest.mark.parametrize(
    ("over", "sentence"),
    [
        ("alfa=0.1,0.2", "neither the configuration nor its tuner neural_tuning has such a key; did you mean alpha?"),
        ("alpha", "write a key, an equals sign and values"),
        ("alpha=0.1:0.5:0", "has no values"),
        ("alpha=0.5:0.1:0.1", "has no values"),
        ("alpha=0:1:0.000001", "too many"),
        ("alpha=", "no values"),
        ("alpha=0.1", "nothing to compare"),
        ("alpha=[0.1", "YAML"),
    ],
)
def test_a_wrong_axis_is_one_sentence(over: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        grid_over(CONFIGURATION, [over], [0], None)
