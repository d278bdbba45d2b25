"""Number formats: bf16 and fp16 bases, autocast, 8- and 4-bit bases."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import get_peft_model

from neuraltuning.tuners import NeuralTuningConfig
from tests.tuners.tiny import base_model, gradients, layers_of, randomize, tokens, tuned_model


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("upcast", [True, False])
def test_half_precision_base(dtype: torch.dtype, upcast: bool) -> None:
    base = base_model().to(dtype)
    plain = base(tokens()).logits
    model = get_peft_model(base, NeuralTuningConfig(d_z=16), autocast_adapter_dtype=upcast)
    assert torch.equal(model(tokens()).logits, plain)
    randomize(model)
    weight = layers_of(model)[0].neural_tuning_down["default"].weight
    assert weight.dtype == (torch.float32 if upcast else dtype)
    tuned = model(tokens()).logits
    assert tuned.dtype == dtype
    exact = tuned_model()(tokens()).logits
    assert (tuned.float() - exact).abs().max() < 0.1 * exact.abs().max()
    assert (tuned.float() - exact).abs().max() < 0.5 * (plain.float() - exact).abs().max()
    model.train()
    model(tokens(), labels=tokens()).loss.backward()
    assert all(gradient.isfinite().all() and gradient.dtype == weight.dtype for gradient in gradients(model).values())


@pytest.mark.parametrize("pattern", ["gaussian", "all"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(dtype: torch.dtype, pattern: Any) -> None:
    model = tuned_model(NeuralTuningConfig(d_z=16, fluctuation=0.0, activation_pattern=pattern)).train()
    bare = base_model()(tokens()).logits
    exact = model(tokens(), labels=tokens())
    exact.loss.backward()
    expected = gradients(model)
    model.zero_grad()
    with torch.autocast("cpu", dtype=dtype):
        output = model(tokens(), labels=tokens())
    assert (output.logits.float() - exact.logits).abs().max() < 0.2 * (bare - exact.logits).abs().max()
    output.loss.backward()
    for name, gradient in gradients(model).items():
        assert gradient.dtype == torch.float32
        assert torch.cosine_similarity(gradient.flatten(), expected[name].flatten(), dim=0) > 0.99, name
    with torch.no_grad(), torch.autocast("cpu", dtype=dtype):
        assert model.eval()(tokens()).logits.isfinite().all()


def quantised(bits: int) -> tuple[Any, Any]:
    """A base whose attention is quantised, and the same with the numbers that its weights stand for."""
    bitsandbytes = pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    base, equal = (base_model(hidden_size=64, head_dim=16).requires_grad_(False) for _ in range(2))
    for layer, equal_layer in zip(base.model.layers, equal.model.layers, strict=True):
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            old = getattr(layer.self_attn, name)
            new: Any
            if bits == 8:
                new = bitsandbytes.nn.Linear8bitLt(
                    old.in_features, old.out_features, bias=False, has_fp16_weights=False, threshold=6.0
                )
            else:
                new = bitsandbytes.nn.Linear4bit(old.in_features, old.out_features, bias=False, quant_type="nf4")
            new.load_state_dict(old.state_dict())
            new = new.to("cpu").requires_grad_(False)
            weight = new.weight
            if bits == 8:
                numbers = bitsandbytes.functional.int8_vectorwise_dequant(weight.data, weight.SCB)
            else:
                numbers = bitsandbytes.functional.dequantize_4bit(weight.data, weight.quant_state)
            setattr(layer.self_attn, name, new)
            getattr(equal_layer.self_attn, name).weight.data.copy_(numbers)
    return base, equal


@pytest.mark.parametrize("bits", [8, 4])
def test_a_quantised_base_is_left_as_it_is(bits: int) -> None:
    base = quantised(bits)[0].eval()
    with torch.no_grad():
        plain = [base(tokens()).logits for _ in range(2)][1]  # bitsandbytes packs 4-bit weights at the first call
        assert torch.equal(get_peft_model(base, NeuralTuningConfig(d_z=16)).eval()(tokens()).logits, plain)


@pytest.mark.parametrize("bits", [8, 4])
def test_a_quantised_base_is_tuned_as_its_plain_equal(bits: int) -> None:
    found = []
    for base in quantised(bits):
        model = get_peft_model(base, NeuralTuningConfig(d_z=16, fluctuation=0.0))
        randomize(model)
        model.train()
        output = model(tokens(), labels=tokens())
        output.loss.backward()
        found.append((output.logits.detach(), gradients(model)))
        generated = model.eval().generate(tokens(), max_new_tokens=5, do_sample=False)
        assert torch.equal(generated, model.generate(tokens(), max_new_tokens=5, do_sample=False, use_cache=False))
    (logits, by_name), (expected, expected_by_name) = found
    # 8 bits: the inputs of the products are rounded to 8 bits, too
    size = expected.abs().max()
    assert (logits - expected).abs().max() < (0.05 if bits == 8 else 1e-5) * size
    for name, gradient in by_name.items():
        similar = torch.cosine_similarity(gradient.flatten(), expected_by_name[name].flatten(), dim=0)
        assert similar > (0.98 if bits == 8 else 0.99999), name
