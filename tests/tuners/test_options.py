"""The method's behavior, one property a test: identity at the start, sparsity, randomness, each option's effect."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
from peft import get_peft_model

from neuraltuning.tuners import NeuralTuningConfig, record_activations
from tests.tuners.tiny import HIDDEN, LAYERS, base_model, gradients, layers_of, randomize, tokens, tuned_model


def _logits(config: NeuralTuningConfig, training: bool = False, seed: int = 0) -> torch.Tensor:
    model = tuned_model(config)
    model.train(training)
    torch.manual_seed(seed)
    with torch.no_grad():
        return model(tokens()).logits


@pytest.mark.parametrize("training", [False, True])
def test_an_untrained_adapter_leaves_the_model_bit_for_bit(training: bool) -> None:
    model = get_peft_model(base_model(), NeuralTuningConfig(d_z=16)).train(training)
    assert torch.equal(model(tokens()).logits, base_model()(tokens()).logits)


def test_evaluation_is_deterministic_and_training_is_not() -> None:
    for pattern in ("gaussian", "top2beta_random", "level_random", "distribution_random"):
        config = NeuralTuningConfig(d_z=32, activation_pattern=pattern, fluctuation=0.5)
        assert torch.equal(_logits(config, seed=0), _logits(config, seed=1)), pattern
        assert not torch.equal(_logits(config, True, 0), _logits(config, True, 1)), pattern
        assert torch.equal(_logits(config, True, 3), _logits(config, True, 3)), pattern


@pytest.mark.parametrize(
    "settings",
    [
        {"targets": "kv"},
        {"targets": "qkv"},
        {"targets": "q"},
        {"targets": "v"},
        {"alpha": 0.1},
        {"beta": 0.9},
        {"activation_pattern": "top2beta_random"},
        {"activation_pattern": "level_random"},
        {"activation_pattern": "distribution_random"},
        {"activation_pattern": "distribution_random", "distribution_center": 1.0},
        {"activation_pattern": "all"},
        {"carry": False},
        {"norm_after_carry": True},
        {"kept_values": "excess"},
        {"layers_to_transform": [0, 1]},
        {"first_layer": 2},
    ],
    ids=str,
)
def test_each_option_changes_the_output(settings: dict[str, Any]) -> None:
    changed = _logits(NeuralTuningConfig(d_z=16, **settings))
    assert not torch.allclose(changed, _logits(NeuralTuningConfig(d_z=16)), atol=1e-4)


@pytest.mark.parametrize("settings", [{"fluctuation": 2.0}, {"sample_rate_per": "token"}, {"dropout": 0.5}], ids=str)
def test_options_of_training_change_training_alone(settings: dict[str, Any]) -> None:
    plain, changed = NeuralTuningConfig(d_z=16), NeuralTuningConfig(d_z=16, **settings)
    assert torch.equal(_logits(plain), _logits(changed))
    assert not torch.allclose(_logits(plain, True), _logits(changed, True), atol=1e-4)


@pytest.mark.parametrize("pattern", ["gaussian", "top2beta_random", "level_random", "distribution_random"])
@pytest.mark.parametrize(("d_z", "beta"), [(32, 0.4), (30, 0.1), (7, 0.5), (32, 1.0)])
@pytest.mark.parametrize("training", [False, True])
def test_as_many_neurons_are_active_as_the_rate_says(pattern: str, d_z: int, beta: float, training: bool) -> None:
    config = NeuralTuningConfig(d_z=d_z, beta=beta, activation_pattern=pattern, fluctuation=0.0)
    model = tuned_model(config).train(training)
    with record_activations(model) as record:
        model(tokens())
    for active in record.joined().values():
        assert active.shape == (2, 9, d_z)
        assert (active.sum(-1) == math.ceil(round(beta * d_z, 6))).all()


def test_the_rate_is_drawn_once_a_layer_or_once_a_token() -> None:
    for per, distinct_within_a_layer in (("layer", False), ("token", True)):
        model = tuned_model(NeuralTuningConfig(d_z=32, fluctuation=0.4, sample_rate_per=per)).train()
        with record_activations(model) as record:
            model(tokens(4, 20))
        counts = [active.sum(-1).flatten() for active in record.joined().values()]
        assert any(len(count.unique()) > 1 for count in counts) is distinct_within_a_layer
        assert len({tuple(count.tolist()) for count in counts}) > 1


def test_drawn_rates_follow_the_paper_s_normal_distribution() -> None:
    model = tuned_model(NeuralTuningConfig(d_z=32, beta=0.4, sample_rate_per="token")).train()
    with record_activations(model) as record:
        model(tokens(20, 50))
    shares = torch.cat([active.float().mean(-1).flatten() for active in record.joined().values()])
    # ceil adds half a neuron on average, and its rounding adds to the spread
    assert abs(shares.mean().item() - (0.4 + 0.5 / 32)) < 0.003
    assert abs(shares.std().item() - math.sqrt(0.04**2 + 1 / 12 / 32**2)) < 0.003


def test_rates_are_clipped_to_at_least_one_and_at_most_all_neurons() -> None:
    model = tuned_model(NeuralTuningConfig(d_z=8, beta=0.5, fluctuation=50.0, sample_rate_per="token")).train()
    with record_activations(model) as record:
        model(tokens(4, 20))
    counts = torch.cat([active.sum(-1).flatten() for active in record.joined().values()])
    assert counts.min() == 1 and counts.max() == 8


def test_grouped_query_attention_gets_a_value_part_of_its_own_width() -> None:
    model = tuned_model(NeuralTuningConfig(d_z=16))
    layer = layers_of(model)[0]
    assert layer.v_proj.out_features == HIDDEN // 2
    assert layer.neural_tuning_down["default"].weight.shape == (16, HIDDEN)
    assert layer.neural_tuning_up["default"].weight.shape == (HIDDEN + HIDDEN // 2, 16)


@pytest.mark.parametrize(
    ("settings", "numbers"),
    [
        ({}, [0, 1, 2, 3]),
        ({"layers_to_transform": 2}, [2]),
        ({"layers_to_transform": [1, 3], "target_modules": ["self_attn"]}, [1, 3]),
        ({"first_layer": 3}, [3]),
        ({"first_layer": 0.5}, [2, 3]),
        ({"first_layer": 1, "target_modules": r".*layers\.[023]\.self_attn"}, [2, 3]),
        ({"target_modules": r".*layers\.[01]\.self_attn"}, [0, 1]),
        ({"exclude_modules": r".*layers\.3\.self_attn"}, [0, 1, 2]),
    ],
    ids=str,
)
def test_the_tuned_layers_can_be_chosen(settings: dict[str, Any], numbers: list[int]) -> None:
    config = NeuralTuningConfig(d_z=16, **settings)
    before = config.to_dict()
    model = tuned_model(config)
    assert [layer.neural_tuning_plan["default"].layer for layer in layers_of(model)] == numbers
    assert [layer.neural_tuning_plan["default"].position for layer in layers_of(model)] == list(range(len(numbers)))
    # a configuration can be used for another model, of another depth, afterwards
    assert config.to_dict() == before


def test_every_adapter_parameter_receives_a_gradient_and_nothing_else_does() -> None:
    config = NeuralTuningConfig(d_z=16, norm_after_carry=True, init_weights=False)
    model = get_peft_model(base_model(), config).train()
    model(tokens(), labels=tokens()).loss.backward()
    found = gradients(model)
    assert len(found) == 3 * LAYERS
    assert all("neural_tuning_" in name and gradient.abs().sum() > 0 for name, gradient in found.items())


def test_gradients_reach_the_first_layer_through_the_carry_alone() -> None:
    """With W_b zero in every layer but the last, only the carried state links the first layer to the loss."""
    model = tuned_model(NeuralTuningConfig(d_z=16)).train()
    layers = layers_of(model)
    for layer in layers[:-1]:
        torch.nn.init.zeros_(layer.neural_tuning_up["default"].weight)
    model(tokens(), labels=tokens()).loss.backward()
    assert layers[0].neural_tuning_down["default"].weight.grad.abs().sum() > 0
    model = tuned_model(NeuralTuningConfig(d_z=16, carry=False)).train()
    layers = layers_of(model)
    for layer in layers[:-1]:
        torch.nn.init.zeros_(layer.neural_tuning_up["default"].weight)
    model(tokens(), labels=tokens()).loss.backward()
    assert layers[0].neural_tuning_down["default"].weight.grad.abs().sum() == 0


def test_training_lowers_the_loss() -> None:
    model: Any = get_peft_model(base_model(), NeuralTuningConfig(d_z=16)).train()
    optimizer = torch.optim.Adam((p for p in model.parameters() if p.requires_grad), lr=0.05)
    losses = []
    for _ in range(30):
        loss = model(tokens(), labels=tokens()).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


def test_adapters_active_together_carry_independently() -> None:
    """In the last layer, with nothing added before it, each adds what it adds alone: no state is mixed."""
    model = tuned_model(NeuralTuningConfig(d_z=16))
    model.add_adapter("other", NeuralTuningConfig(d_z=16, targets="kv"))
    randomize(model, "other", seed=9)
    layers = layers_of(model)
    with torch.no_grad():
        for layer in layers[:-1]:
            for name in ("default", "other"):
                layer.neural_tuning_up[name].weight.zero_()

    @torch.no_grad()
    def values(*names: str) -> torch.Tensor:
        seen: list[torch.Tensor] = []
        handle = layers[-1].v_proj.register_forward_hook(lambda module, args, output: seen.append(output))
        with nullcontext() if names else model.disable_adapter():
            if names:
                model.base_model.set_adapter(list(names))
            model(tokens())
        handle.remove()
        return seen[0]

    plain, one, other = values(), values("default"), values("other")
    torch.testing.assert_close(values("default", "other"), one + other - plain, atol=1e-5, rtol=0)
    assert not torch.allclose(one, other, atol=1e-3)
    uncarried = NeuralTuningConfig(d_z=16, carry=False)
    for layer in layers:  # what is carried matters in that layer
        layer.neural_tuning_plan["default"] = replace(layer.neural_tuning_plan["default"], config=uncarried)
    assert not torch.allclose(values("default"), one, atol=1e-3)


def test_with_alpha_one_every_layer_is_told_what_the_first_one_saw() -> None:
    model = tuned_model(NeuralTuningConfig(d_z=16, alpha=1.0))
    before = model(tokens()).logits
    with torch.no_grad():
        for layer in layers_of(model)[1:]:
            layer.neural_tuning_down["default"].weight.normal_()
    assert torch.equal(model(tokens()).logits, before)
    with torch.no_grad():
        layers_of(model)[0].neural_tuning_down["default"].weight.normal_()
    assert not torch.equal(model(tokens()).logits, before)
