"""Tiny random models of each family, and adapters on them that do something from the start."""

from __future__ import annotations

from typing import Any

import torch
from peft import get_peft_model
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from neuraltuning.tuners import NeuralTuningConfig, NeuralTuningLayer

VOCABULARY = 60
HIDDEN = 32
LAYERS = 4

_COMMON: dict[str, Any] = {
    "hidden_size": HIDDEN,
    "intermediate_size": 48,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": None,
    "pad_token_id": 0,
}
_GROUPED: dict[str, Any] = {**_COMMON, "num_key_value_heads": 2}
_GPT2: dict[str, Any] = {
    "n_embd": HIDDEN,
    "n_layer": LAYERS,
    "n_head": 4,
    "vocab_size": VOCABULARY,
    "n_positions": 64,
    "resid_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "attn_pdrop": 0.0,
    "bos_token_id": 1,
    "eos_token_id": None,
    "pad_token_id": 0,
}

FAMILIES: dict[str, dict[str, Any]] = {
    "llama": _GROUPED,
    "mistral": _GROUPED,
    "mixtral": {**_GROUPED, "num_local_experts": 2},
    "qwen2": _GROUPED,
    "qwen3": {**_GROUPED, "head_dim": 8},
    "smollm3": _GROUPED,
    "olmo2": _GROUPED,
    "gemma": {**_GROUPED, "head_dim": 8},
    "gemma2": {**_GROUPED, "head_dim": 8},
    "gemma3_text": {**_GROUPED, "head_dim": 8},
    "phi3": _GROUPED,
    "gpt2": _GPT2,
    "gpt_neox": _COMMON,
    "opt": {**_COMMON, "ffn_dim": 48, "word_embed_proj_dim": HIDDEN, "dropout": 0.0},
}


def base_model(family: str = "llama", **settings: Any) -> Any:
    """The same random model each time, in evaluation mode."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        config = CONFIG_MAPPING[family](**{**FAMILIES.get(family, _COMMON), **settings})
        return AutoModelForCausalLM.from_config(config).eval()


def tuned_model(config: NeuralTuningConfig | None = None, family: str = "llama", **settings: Any) -> Any:
    """`base_model` with an adapter whose W_b is not zero, in evaluation mode."""
    config = config or NeuralTuningConfig(d_z=16)
    model = get_peft_model(base_model(family, **settings), config)
    randomize(model)
    return model.eval()


def randomize(model: torch.nn.Module, adapter: str = "default", seed: int = 5) -> None:
    """Gives an adapter's parameters values of a size that visibly changes the logits."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "neural_tuning_" in name and f".{adapter}." in name:
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.copy_(1 + 0.3 * noise if "norm" in name else 0.3 * noise)


def tokens(batch: int = 2, length: int = 9, seed: int = 7) -> torch.Tensor:
    return torch.randint(2, VOCABULARY, (batch, length), generator=torch.Generator().manual_seed(seed))


def layers_of(model: torch.nn.Module) -> list[Any]:
    return [module for module in model.modules() if isinstance(module, NeuralTuningLayer)]


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The gradients of the trainable parameters; every one must have received one."""
    found = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            found[name] = parameter.grad.clone()
    return found


def largest_difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    assert one
    return max((one[name] - other[name]).abs().max().item() for name in one)
