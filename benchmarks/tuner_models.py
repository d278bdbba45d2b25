"""The models that the tuner benchmarks compare: bare, with neural tuning, with LoRA of as many parameters.

Knows nothing of how they are timed or weighed.
"""

from __future__ import annotations

from typing import Any

import torch
from peft import get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, PretrainedConfig

from neuraltuning.tuners import tuner_config

SHAPES = ("llama-2048", "smollm2-135m")
METHODS = ("bare", "neural_tuning", "lora")


def shape(name: str, layers: int | None = None) -> PretrainedConfig:
    """A Llama of hidden size 2048 and 6 layers, or SmolLM2-135M's shape; `layers` overrides their number."""
    if name == "llama-2048":
        config: Any = LlamaConfig(
            hidden_size=2048,
            intermediate_size=5632,
            num_hidden_layers=6,
            num_attention_heads=32,
            vocab_size=32000,
        )
    else:
        from neuraltuning.embedded import smollm2_folder

        config = AutoConfig.from_pretrained(smollm2_folder())
    if layers is not None:
        config.num_hidden_layers = layers
    return config


def build(method: str, config: PretrainedConfig, dtype: torch.dtype) -> Any:
    """The frozen model with random weights, the same for every method, and the method's adapter.

    Adapter weights are in the base model's number format for every method, so that no method pays for casts that
    another one saves.
    """
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_config(config, dtype=dtype)
    model.requires_grad_(False)
    if method == "bare":
        return model
    tuner = tuner_config("neural_tuning")
    if method == "lora":
        tuner = tuner_config("lora", target_modules=["q_proj", "v_proj"], match_parameters=tuner, model=config)
    return get_peft_model(model, tuner, autocast_adapter_dtype=False)


def training_step(model: Any, embeddings: torch.Tensor) -> None:
    """Forward and backward, with the gradient of the input, which image tokens need from every method."""
    inputs = embeddings.detach().requires_grad_()
    output = model(inputs_embeds=inputs, use_cache=False).logits
    output.float().logsumexp(-1).mean().backward()
    for parameter in model.parameters():
        parameter.grad = None
