"""The fast implementation against the plain loops of `reference.py`: forward and gradient, every option and family."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from neuraltuning.tuners import NeuralTuningConfig
from tests.tuners.reference import Reference
from tests.tuners.tiny import FAMILIES, LAYERS, base_model, layers_of, tokens, tuned_model

OPTIONS: dict[str, dict[str, Any]] = {
    "defaults": {},
    **{f"targets {value}": {"targets": value} for value in ("kv", "qkv", "q", "v")},
    "alpha 0.2": {"alpha": 0.2},
    "alpha 0": {"alpha": 0.0},
    "beta 0.1": {"beta": 0.1},
    "beta 0.8": {"beta": 0.8},
    "beta 1": {"beta": 1.0},
    "large fluctuation": {"fluctuation": 1.5},
    "no fluctuation": {"fluctuation": 0.0},
    "top2beta": {"activation_pattern": "top2beta_random"},
    "top2beta, 2 beta above 1": {"activation_pattern": "top2beta_random", "beta": 0.7},
    "levels": {"activation_pattern": "level_random"},
    "levels, beta 0.7": {"activation_pattern": "level_random", "beta": 0.7},
    "nearest to 0": {"activation_pattern": "distribution_random"},
    "nearest to 1": {"activation_pattern": "distribution_random", "distribution_center": 1.0},
    "all": {"activation_pattern": "all"},
    "no carry": {"carry": False},
    "dropout": {"dropout": 0.3},
    "dropout of levels": {"dropout": 0.5, "activation_pattern": "level_random"},
    "norm": {"norm_after_carry": True},
    "excess": {"kept_values": "excess"},
    "excess, nothing dropped": {"kept_values": "excess", "beta": 1.0, "fluctuation": 0.0},
    "excess of levels": {"kept_values": "excess", "activation_pattern": "level_random"},
    "excess of all": {"kept_values": "excess", "activation_pattern": "all"},
    "some layers": {"layers_to_transform": [1, 3]},
    "from layer 2": {"first_layer": 2},
    "a rate a token": {"sample_rate_per": "token"},
    "levels with a rate a token": {"sample_rate_per": "token", "activation_pattern": "level_random"},
    "top2beta with a rate a token": {"sample_rate_per": "token", "activation_pattern": "top2beta_random"},
    "released code": {"released_code": True},
}


def _tuned_numbers(config: NeuralTuningConfig) -> list[int]:
    if config.layers_to_transform is not None:
        return list(config.layers_to_transform)  # type: ignore[arg-type]
    first = config.first_layer
    return list(range(int(first * LAYERS) if isinstance(first, float) else first, LAYERS))


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_logits_and_gradients_equal_the_reference(options: dict[str, Any], training: bool) -> None:
    settings = {"d_z": 12, **options}
    make = NeuralTuningConfig.released_code if settings.pop("released_code", False) else NeuralTuningConfig
    compare(make(**settings), training)


@pytest.mark.parametrize("targets", ["qv", "kv", "qkv"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_equals_the_reference(family: str, targets: str) -> None:
    compare(NeuralTuningConfig(d_z=12, targets=targets), True, family)


@pytest.mark.parametrize("key_value_heads", [1, 4])
def test_multi_query_and_multi_head_attention_equal_the_reference(key_value_heads: int) -> None:
    compare(NeuralTuningConfig(d_z=12), True, num_key_value_heads=key_value_heads)


def compare(config: NeuralTuningConfig, training: bool, family: str = "llama", **model_settings: Any) -> None:
    """Asserts that logits and gradients are the reference's."""
    fast = tuned_model(config, family, **model_settings)
    if training:
        fast.train()
    numbers = _tuned_numbers(config)
    layers = layers_of(fast)
    assert len(layers) == len(numbers)
    parameters: dict[int, dict[str, torch.Tensor]] = {}
    pairs = []
    for number, layer in zip(numbers, layers, strict=True):
        parameters[number] = {}
        for name in ("down", "up", "norm"):
            modules = getattr(layer, f"neural_tuning_{name}")
            if "default" in modules:
                copied = modules["default"].weight.detach().clone().requires_grad_()
                parameters[number][name] = copied
                pairs.append((modules["default"].weight, copied))
    reference = Reference(base_model(family, **model_settings), parameters, config)
    weighing = torch.randn(2, 5, 60)

    torch.manual_seed(11)
    fast_logits = fast(tokens(2, 5)).logits
    (fast_logits * weighing).sum().backward()
    torch.manual_seed(11)
    slow_logits = reference(tokens(2, 5), training)
    (slow_logits * weighing).sum().backward()

    base_logits = base_model(family, **model_settings)(tokens(2, 5)).logits
    assert (fast_logits - base_logits).abs().max() > 1e-3
    assert (fast_logits - slow_logits).abs().max() < 1e-6
    for fast_parameter, slow_parameter in pairs:
        assert slow_parameter.grad is not None and slow_parameter.grad.abs().max() > 0
        difference = fast_parameter.grad - slow_parameter.grad
        assert difference.norm() < 1e-6 * slow_parameter.grad.norm()
        size = max(1.0, float(slow_parameter.grad.abs().max()))
        assert difference.abs().max() < 3e-6 * size  # sums of 600 terms in float32
