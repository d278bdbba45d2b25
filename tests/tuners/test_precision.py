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


@pytest.mark.parametrize("bits", [8, 4])
def test_quantised_base(bits: int) -> None:
    bitsandbytes = pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    base = base_model(hidden_size=64, head_dim=16)
    exact = tuned_model(hidden_size=64, head_dim=16)(tokens()).logits
    for layer in base.model.layers:
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            old = getattr(layer.self_attn, name)
            if bits == 8:
                new = bitsandbytes.nn.Linear8bitLt(
                    old.in_features, old.out_features, bias=False, has_fp16_weights=False, threshold=6.0
                )
                new.load_state_dict(old.state_dict())
            else:
                new = bitsandbytes.nn.Linear4bit(old.in_features, old.out_features, bias=False, quant_type="nf4")
                new.load_state_dict(old.state_dict())
            setattr(layer.self_attn, name, new.to("cpu"))
    plain = base.eval()(tokens()).logits
    model = get_peft_model(base, NeuralTuningConfig(d_z=16))
    assert torch.equal(model(tokens()).logits, plain)
    randomize(model)
    tuned = model(tokens()).logits
    assert (tuned - exact).abs().max() < 0.5 * (plain - exact).abs().max()
    model.train()
    model(tokens(), labels=tokens()).loss.backward()
    assert all(gradient.abs().sum() > 0 for gradient in gradients(model).values())
    generated = model.eval().generate(tokens(), max_new_tokens=5, do_sample=False)
    assert torch.equal(generated, model.generate(tokens(), max_new_tokens=5, do_sample=False, use_cache=False))
