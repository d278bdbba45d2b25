"""Choosing a method by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import IA3Config, LoraConfig, PeftConfig, PrefixTuningConfig, get_peft_model

from neuraltuning.errors import InputError
from neuraltuning.tuners import NeuralTuningConfig, count_parameters, tuner_config
from tests.tuners.tiny import base_model, tokens


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("neural_tuning", NeuralTuningConfig),
        ("lora", LoraConfig),
        ("prefix_tuning", PrefixTuningConfig),
        ("ia3", IA3Config),
    ],
)
def test_each_method_trains(name: str, kind: type[PeftConfig]) -> None:
    settings: dict[str, Any] = {"d_z": 16} if name == "neural_tuning" else {}
    config = tuner_config(name, **settings)
    assert type(config) is kind
    model = get_peft_model(base_model(), config).train()
    model(tokens(), labels=tokens()).loss.backward()
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert trainable and all(parameter.grad is not None for parameter in trainable)
    assert count_parameters(config, base_model()) == sum(parameter.numel() for parameter in trainable)


def test_settings_reach_the_method() -> None:
    config = tuner_config("lora", r=3, lora_alpha=7, target_modules=["q_proj"])
    assert (config.r, config.lora_alpha, config.target_modules) == (3, 7, {"q_proj"})
    assert tuner_config("neural_tuning", beta=0.3).beta == 0.3


@pytest.mark.parametrize("name", ["lora", "prefix_tuning", "neural_tuning"])
def test_as_many_parameters_as_another_method(name: str) -> None:
    model = base_model()
    wanted = NeuralTuningConfig(d_z=20)
    target = count_parameters(wanted, model)
    config = tuner_config(name, match_parameters=wanted, model=model)
    step = count_parameters(tuner_config(name, **{_size(name): 1}), model)
    assert abs(count_parameters(config, model.config) - target) <= step / 2
    by_number = tuner_config(name, match_parameters=target, model=model.config)
    assert getattr(by_number, _size(name)) == getattr(config, _size(name))
    assert wanted.target_modules is None


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("lora", {"use_dora": True}),
        ("lora", {"modules_to_save": ["lm_head"]}),
        ("neural_tuning", {"modules_to_save": ["lm_head"]}),
        ("prefix_tuning", {"prefix_projection": True, "encoder_hidden_size": 8}),
    ],
    ids=str,
)
def test_a_constant_share_of_the_parameters_is_counted_once(name: str, settings: dict[str, Any]) -> None:
    model = base_model()
    one, two, twelve = (
        count_parameters(tuner_config(name, **settings, **{_size(name): size}), model) for size in (1, 2, 12)
    )
    assert 2 * one > two  # so that the number is not proportional to the size
    for target in (twelve, twelve + (two - one) // 3):
        config = tuner_config(name, match_parameters=target, model=model, **settings)
        assert getattr(config, _size(name)) == 12


def _size(name: str) -> str:
    return {"lora": "r", "prefix_tuning": "num_virtual_tokens", "neural_tuning": "d_z"}[name]


def test_counting_needs_no_weights() -> None:
    with torch.device("meta"):
        model = base_model()
    assert count_parameters(NeuralTuningConfig(d_z=16), model) == 4 * 16 * (32 + 32 + 16)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("lorra", {}, "no tuning method named 'lorra'; choose one of neural_tuning, lora, prefix_tuning, ia3"),
        ("lora", {"rank": 3}, "lora has no setting named 'rank'.*lora_alpha"),
        ("lora", {"r": 0}, "r of lora must be a whole number of at least 1, got 0"),
        ("lora", {"task_type": "POETRY"}, "refuses the settings of lora"),
        ("prefix_tuning", {"num_virtual_tokens": "many"}, "num_virtual_tokens of prefix_tuning must be"),
        ("neural_tuning", {"alpha": 2}, r"alpha must be in \[0, 1\], got 2"),
        ("ia3", {"match_parameters": 1000}, "can't be chosen"),
        ("lora", {"match_parameters": 1000}, "needs the model"),
        ("lora", {"match_parameters": 0, "model": True}, "got 0"),
        ("lora", {"match_parameters": 1000, "model": True, "r": 3}, "either r or match_parameters"),
    ],
    ids=str,
)
def test_bad_input(name: str, settings: dict[str, Any], message: str) -> None:
    if settings.get("model"):
        settings = {**settings, "model": base_model()}
    with pytest.raises(InputError, match=message):
        tuner_config(name, **settings)
