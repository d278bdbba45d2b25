"""The configuration: defaults, validation, the preset, saving, registration."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
from peft import PeftConfig, PeftType

from neuraltuning.errors import InputError
from neuraltuning.tuners import NeuralTuningConfig
from neuraltuning.tuners.registration import peft_type_member, register


def test_defaults_are_the_papers() -> None:
    config = NeuralTuningConfig()
    assert (config.d_z, config.alpha, config.beta, config.fluctuation) == (128, 0.9, 0.4, 0.1)
    assert (config.targets, config.activation_pattern, config.carry) == ("qv", "gaussian", True)
    assert (config.norm_after_carry, config.kept_values, config.dropout) == (False, "value", 0.0)
    assert (config.sample_rate_per, config.layers_to_transform, config.first_layer) == ("layer", None, 0)


def test_released_code_preset() -> None:
    config = NeuralTuningConfig.released_code(d_z=64, alpha=0.5)
    assert (config.norm_after_carry, config.kept_values, config.first_layer) == (True, "excess", 0.5)
    assert (config.d_z, config.alpha) == (64, 0.5)
    assert NeuralTuningConfig.released_code().alpha == 0.2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("d_z", 0),
        ("d_z", 12.0),
        ("d_z", True),
        ("alpha", 1.1),
        ("alpha", -0.1),
        ("alpha", "0.9"),
        ("alpha", float("nan")),
        ("beta", 0.0),
        ("beta", 1.2),
        ("fluctuation", -0.5),
        ("dropout", 1.0),
        ("distribution_center", float("inf")),
        ("targets", "vq"),
        ("targets", "o"),
        ("activation_pattern", "top-k"),
        ("kept_values", "rank"),
        ("sample_rate_per", "batch"),
        ("carry", 1),
        ("norm_after_carry", "yes"),
        ("init_weights", None),
        ("first_layer", -1),
        ("first_layer", 1.0),
        ("first_layer", "half"),
        ("layers_to_transform", []),
        ("layers_to_transform", [0, -2]),
        ("layers_to_transform", [0.5]),
        ("layers_to_transform", 2.5),
        ("target_modules", 5),
        ("target_modules", ["self_attn", 5]),
        ("target_modules", "(self_attn"),
        ("exclude_modules", "*"),
        ("layers_pattern", 1),
        ("modules_to_save", "lm_head"),
        ("modules_to_save", 3),
    ],
)
def test_a_wrong_value_is_named(name: str, value: Any) -> None:
    with pytest.raises(InputError) as caught:
        NeuralTuningConfig(**{name: value})
    assert name in str(caught.value)
    shown = value[-1] if isinstance(value, list) and value else value
    assert repr(shown) in str(caught.value) or value == []


def test_first_layer_and_layers_to_transform_exclude_each_other() -> None:
    with pytest.raises(InputError, match="not both"):
        NeuralTuningConfig(first_layer=2, layers_to_transform=[3])


def test_survives_saving(tmp_path: Path) -> None:
    config = NeuralTuningConfig(
        d_z=24,
        activation_pattern="level_random",
        first_layer=0.5,
        target_modules=["self_attn"],
        exclude_modules=["vision"],
        modules_to_save=["lm_head"],
    )
    config.save_pretrained(str(tmp_path))
    loaded = PeftConfig.from_pretrained(str(tmp_path))
    assert isinstance(loaded, NeuralTuningConfig)
    assert loaded.to_dict() == config.to_dict()
    assert loaded.peft_type is PeftType.NEURAL_TUNING  # type: ignore[attr-defined]


def test_peft_type_behaves_like_peft_s_own() -> None:
    member: Any = NeuralTuningConfig().peft_type
    assert member == "NEURAL_TUNING" and member.value == "NEURAL_TUNING" and member.name == "NEURAL_TUNING"
    assert PeftType("NEURAL_TUNING") is PeftType["NEURAL_TUNING"] is member
    assert member in list(PeftType)
    assert pickle.loads(pickle.dumps(member)) is copy.deepcopy(member) is member
    assert peft_type_member("lora") is PeftType.LORA


def test_a_second_registration_changes_nothing_and_a_foreign_one_is_refused() -> None:
    from neuraltuning.tuners import NeuralTuningModel

    register("neural_tuning", NeuralTuningConfig, NeuralTuningModel)
    with pytest.raises(RuntimeError, match="already registered"):
        register("lora", NeuralTuningConfig, NeuralTuningModel)
