"""The cost of a tuned LLM, against figures worked out by hand and against real models."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig, MambaConfig, MixtralConfig, T5Config

from neuraltuning.analysis.cost import cost
from neuraltuning.errors import InputError
from neuraltuning.tuners import NeuralTuningConfig
from tests.tuners.tiny import FAMILIES, base_model

LLAMA2_7B = LlamaConfig()  # transformers' defaults are LLaMA2-7B's

SMALL: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 50,
}


def test_llama2_7b() -> None:
    found = cost(LLAMA2_7B, tokens=35)
    assert found.parameters == 6_738_415_616
    assert found.tuner_parameters == 32 * 128 * 3 * 4096 == 50_331_648
    assert round(found.trainable_share, 4) == 0.0074
    assert round(found.flops / 1e12, 3) == 0.463
    assert found.tuner_flops == 2 * 35 * found.tuner_parameters
    assert found.weight_bytes == 2 * found.parameters + 4 * found.tuner_parameters
    assert found.cache_bytes == 32 * 2 * 35 * 4096 * 2


def test_operations_are_those_of_the_matrix_products() -> None:
    tokens, batch = 7, 3
    found = cost(LlamaConfig(**SMALL), NeuralTuningConfig(d_z=16, targets="kv"), tokens=tokens, batch=batch)
    layer = 64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 96
    products = 2 * batch * tokens * (3 * layer + 64 * 50)
    rotary = 2 * batch * tokens * 8  # the frequencies are a small product, too
    attention = 3 * 2 * 2 * batch * 4 * tokens * tokens * 16
    assert products + attention <= found.flops <= products + attention + rotary
    assert found.tuner_flops == 2 * batch * tokens * 3 * 16 * (64 + 32 + 32)


def test_experts_count_as_often_as_they_are_chosen() -> None:
    config = MixtralConfig(**SMALL, num_local_experts=6, num_experts_per_tok=2)
    dense = cost(LlamaConfig(**SMALL), NeuralTuningConfig(d_z=16), tokens=8).flops
    one_feed_forward = 2 * 8 * 3 * (3 * 64 * 96)
    router = 2 * 8 * 3 * 64 * 6
    assert cost(config, NeuralTuningConfig(d_z=16), tokens=8).flops == dense + one_feed_forward + router


def test_a_recurrent_model_keeps_no_keys_and_values() -> None:
    config = MambaConfig(hidden_size=64, num_hidden_layers=2, vocab_size=50)
    found = cost(config, LoraConfig(r=4, target_modules=["in_proj"]), tokens=8)
    assert found.cache_bytes == 0
    assert found.tuner_parameters == 2 * 4 * (64 + 256)


def test_tied_embeddings_count_once_and_other_methods_are_counted() -> None:
    config = LlamaConfig(**{**SMALL, "tie_word_embeddings": True})
    real = AutoModelForCausalLM.from_config(config)
    tuner = LoraConfig(r=4, target_modules=["q_proj", "v_proj"])
    found = cost(config, tuner, tokens=5, dtype=torch.float32)
    assert found.parameters == sum(parameter.numel() for parameter in real.parameters())
    assert found.tuner_parameters == 3 * 4 * (64 + 64 + 64 + 32)
    assert found.weight_bytes == 4 * (found.parameters + found.tuner_parameters)
    assert found.training_bytes == found.weight_bytes + 12 * found.tuner_parameters + found.activation_bytes
    assert tuner.target_modules == {"q_proj", "v_proj"}


def test_kept_activations_are_those_of_a_real_pass() -> None:
    config = NeuralTuningConfig(d_z=16)
    model: Any = get_peft_model(
        AutoModelForCausalLM.from_config(LlamaConfig(**SMALL), attn_implementation="eager"), config
    )
    weights = {parameter.data_ptr() for parameter in model.parameters()}
    weights |= {buffer.data_ptr() for buffer in model.buffers()}
    kept: dict[int, torch.UntypedStorage] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage
        return tensor

    ids = torch.randint(2, 50, (2, 11))
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        output = model.eval()(ids)
    real = sum(storage.nbytes() for storage in kept.values())
    assert output.logits.requires_grad
    found = cost(LlamaConfig(**SMALL), config, tokens=11, batch=2, dtype=torch.float32).activation_bytes
    assert abs(found - real) < 0.01 * real


def test_a_larger_model_keeps_more_and_a_longer_pass_costs_more() -> None:
    short, long = (cost(LlamaConfig(**SMALL), NeuralTuningConfig(d_z=16), tokens=n) for n in (16, 32))
    assert long.flops > 2 * short.flops and long.tuner_flops == 2 * short.tuner_flops
    assert long.activation_bytes > 2 * short.activation_bytes and long.cache_bytes == 2 * short.cache_bytes
    assert long.weight_bytes == short.weight_bytes


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"mixtral"}))
def test_every_family_is_counted(family: str) -> None:
    model = base_model(family)
    found = cost(model.config, NeuralTuningConfig(d_z=16), tokens=6)
    assert found.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert found.flops > 0 and found.tuner_flops == 2 * 6 * found.tuner_parameters


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tokens": 0}, "tokens must be a whole number of at least 1, got 0"),
        ({"batch": 1.5}, "batch must be a whole number of at least 1, got 1.5"),
        ({"config": T5Config()}, "T5Config does not describe a causal language model"),
        ({"tuner": NeuralTuningConfig(d_z=65)}, "hidden size"),
        ({"config": MixtralConfig(**SMALL, num_local_experts=2), "dtype": torch.float32}, "use dtype=torch.bfloat16"),
    ],
    ids=["tokens", "batch", "family", "tuner", "dtype"],
)
def test_bad_input(arguments: dict[str, Any], message: str) -> None:
    arguments = {"config": LlamaConfig(**SMALL), "tuner": NeuralTuningConfig(d_z=16), **arguments}
    with pytest.raises(InputError, match=message):
        cost(**arguments)
