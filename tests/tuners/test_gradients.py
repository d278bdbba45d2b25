"""Gradients that must not depend on how the passes are run: checkpointing, several forwards, switches in between."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from peft import PeftModel

from neuraltuning.errors import RunError
from neuraltuning.tuners import NeuralTuningConfig
from tests.tuners.tiny import gradients, largest_difference, randomize, tokens, tuned_model

PATTERNS = ("gaussian", "top2beta_random", "level_random")


def _model(checkpointing: bool, **settings: object) -> PeftModel:
    model = tuned_model(NeuralTuningConfig(**{"d_z": 16, "dropout": 0.2, **settings})).train()  # type: ignore[arg-type]
    model.add_adapter("other", NeuralTuningConfig(d_z=8))
    randomize(model, "other", seed=9)
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model


def _loss(model: PeftModel, seed: int) -> torch.Tensor:
    torch.manual_seed(seed)
    return model(tokens(seed=seed), labels=tokens(seed=seed)).loss


def one_forward(model: PeftModel) -> None:
    _loss(model, 1).backward()


def two_forwards_then_backward(model: PeftModel) -> None:
    losses = [_loss(model, 1), _loss(model, 2)]
    sum(losses).backward()


def a_forward_without_gradients_in_between(model: PeftModel) -> None:
    loss = _loss(model, 1)
    with torch.no_grad():
        _loss(model, 2)
    loss.backward()


def another_adapter_in_between(model: PeftModel) -> None:
    loss = _loss(model, 1)
    model.set_adapter("other")
    with torch.no_grad():
        _loss(model, 2)
    model.set_adapter("default")
    loss.backward()


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize(
    "run",
    [one_forward, two_forwards_then_backward, a_forward_without_gradients_in_between, another_adapter_in_between],
)
def test_checkpointing_gives_the_same_gradients(run: Callable[[PeftModel], None], pattern: str) -> None:
    found = []
    for checkpointing in (False, True):
        model = _model(checkpointing, activation_pattern=pattern)
        run(model)
        found.append(gradients(model))
    assert all(gradient.abs().sum() > 0 for gradient in found[0].values())
    assert largest_difference(*found) < 1e-7


def test_two_forwards_add_up() -> None:
    together = _model(False)
    two_forwards_then_backward(together)
    apart = _model(False)
    _loss(apart, 1).backward()
    _loss(apart, 2).backward()
    assert largest_difference(gradients(together), gradients(apart)) < 1e-6


def test_a_forward_in_between_does_not_change_the_gradients() -> None:
    plain, disturbed = _model(True), _model(True)
    one_forward(plain)
    a_forward_without_gradients_in_between(disturbed)
    assert largest_difference(gradients(plain), gradients(disturbed)) == 0


def test_checkpointing_without_restoring_the_generator_keeps_the_drawn_rates() -> None:
    """Rates travel on the tape; only what else is random would differ, and here nothing else is."""
    found = []
    for kwargs in (None, {"use_reentrant": False, "preserve_rng_state": False}):
        model = tuned_model(NeuralTuningConfig(d_z=16, fluctuation=0.5)).train()
        if kwargs:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=kwargs)
        torch.manual_seed(1)
        model(tokens(), labels=tokens()).loss.backward()
        found.append(gradients(model))
    assert largest_difference(*found) < 1e-7


def test_reentrant_checkpointing_is_refused_with_the_remedy() -> None:
    model = tuned_model().train()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": True})
    model.enable_input_require_grads()
    with pytest.raises(RunError, match=r'gradient_checkpointing_kwargs=\{"use_reentrant": False\}'):
        model(tokens(), labels=tokens())


def test_gradients_equal_finite_differences() -> None:
    """In float64, evaluation mode, where the loss is smooth almost everywhere."""
    model = tuned_model(NeuralTuningConfig(d_z=16), family="gpt2").double()  # whose norms keep float64
    weighing = torch.randn(2, 9, 60, dtype=torch.float64)
    (model(tokens()).logits * weighing).sum().backward()
    for name, gradient in gradients(model).items():
        parameter = model.get_parameter(name)
        direction = torch.randn(parameter.shape, dtype=torch.float64)
        step = 1e-6
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter.add_(direction, alpha=sign * step)
                values.append((model(tokens()).logits * weighing).sum())
                parameter.sub_(direction, alpha=sign * step)
        numerical = (values[0] - values[1]).item() / (2 * step)
        assert numerical == pytest.approx((gradient * direction).sum().item(), rel=1e-4, abs=1e-8), name
