"""Every supported family on a tiny random model, and the families that can't work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel, get_peft_model
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    BertConfig,
    BloomConfig,
    FalconConfig,
    GPTJConfig,
    PretrainedConfig,
    T5Config,
)
from transformers.models.llama.modeling_llama import LlamaAttention

from neuraltuning.errors import InputError, RunError
from neuraltuning.tuners import NeuralTuningConfig
from neuraltuning.tuners.neural.model import FAMILIES as SUPPORTED
from tests.tuners.tiny import (
    FAMILIES,
    HIDDEN,
    base_model,
    gradients,
    largest_difference,
    layers_of,
    tokens,
    tuned_model,
)


@pytest.mark.parametrize("family", FAMILIES)
def test_identity_effect_saving_and_gradients(family: str, tmp_path: Path) -> None:
    plain = base_model(family)(tokens()).logits
    untrained = get_peft_model(base_model(family), NeuralTuningConfig(d_z=16)).eval()
    assert torch.equal(untrained(tokens()).logits, plain)
    model = tuned_model(family=family)
    tuned = model(tokens()).logits
    assert (tuned - plain).abs().max() > 1e-3
    model.save_pretrained(str(tmp_path))
    assert torch.equal(PeftModel.from_pretrained(base_model(family), str(tmp_path))(tokens()).logits, tuned)
    found = []
    for checkpointing in (False, True):
        trained = tuned_model(family=family).train()
        if checkpointing:
            trained.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        torch.manual_seed(0)
        trained(tokens(), labels=tokens()).loss.backward()
        found.append(gradients(trained))
    assert all(gradient.abs().sum() > 0 for gradient in found[0].values())
    assert largest_difference(*found) < 1e-6


@pytest.mark.parametrize("family", FAMILIES)
def test_generation_with_and_without_a_cache(family: str) -> None:
    model = tuned_model(family=family)
    settings: dict[str, Any] = {"max_new_tokens": 6, "do_sample": False, "output_logits": True}
    cached = model.generate(tokens(), return_dict_in_generate=True, **settings)
    plain = model.generate(tokens(), return_dict_in_generate=True, use_cache=False, **settings)
    assert torch.equal(cached.sequences, plain.sequences)
    for one, other in zip(cached.logits, plain.logits, strict=True):
        assert torch.allclose(one, other, atol=2e-5)


@pytest.mark.parametrize("family", ["phi3", "gpt2", "gpt_neox"])
@pytest.mark.parametrize("targets", ["qv", "kv", "qkv", "q", "v"])
def test_fused_projections_get_the_addition_in_the_right_slices(family: str, targets: str) -> None:
    """The addition must reach exactly the query, key or value slice that the attention module cuts out."""
    model = tuned_model(NeuralTuningConfig(d_z=16, targets=targets), family=family)
    layer = layers_of(model)[0]
    name = layer.projections[0].name
    module = getattr(layer.base_layer, name)
    seen: dict[str, torch.Tensor] = {}
    module.register_forward_hook(lambda m, args, output: seen.update(hidden=args[0], output=output))
    with torch.no_grad():
        model(tokens())
        with model.disable_adapter():
            added = seen["output"] - module(seen["hidden"])
    heads = layer.base_layer.config.num_attention_heads
    if family == "gpt_neox":
        parts = added.view(*added.shape[:-1], heads, -1).chunk(3, dim=-1)
    elif family == "gpt2":
        parts = added.chunk(3, dim=-1)
    else:
        parts = added.split([HIDDEN, HIDDEN // 2, HIDDEN // 2], dim=-1)
    up = layer.neural_tuning_up["default"].weight
    widths = [part.flatten(2).shape[-1] for part, letter in zip(parts, "qkv", strict=True) if letter in targets]
    assert up.shape[0] == sum(widths)
    down = layer.neural_tuning_down["default"].weight
    vector = seen["hidden"] @ down.T
    active = vector * (vector >= vector.topk(7, dim=-1).values[..., -1:])
    expected = iter((active @ up.T).split(widths, dim=-1))
    for part, letter in zip(parts, "qkv", strict=True):
        if letter in targets:
            assert torch.allclose(part.flatten(2), next(expected), atol=1e-5)
            assert part.abs().max() > 1e-3
        else:
            assert part.abs().max() == 0


@pytest.mark.parametrize("key_value_heads", [1, 2, 4])
def test_multi_query_and_grouped_query_attention(key_value_heads: int) -> None:
    model = tuned_model(num_key_value_heads=key_value_heads)
    width = HIDDEN // 4 * key_value_heads
    assert layers_of(model)[0].neural_tuning_up["default"].weight.shape == (HIDDEN + width, 16)
    model(tokens(), labels=tokens()).loss.backward()
    assert gradients(model)


def test_the_text_part_of_a_vision_language_model_alone_is_tuned() -> None:
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    config = Gemma3Config(
        text_config={**FAMILIES["gemma3_text"]},
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
        },
        mm_tokens_per_image=4,
        image_token_index=50,
        boi_token_index=51,
        eoi_token_index=52,
    )
    torch.manual_seed(0)
    base = Gemma3ForConditionalGeneration(config).eval()
    plain = base(tokens()).logits
    model = get_peft_model(base, NeuralTuningConfig(d_z=16, init_weights=False)).eval()
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert len(names) == 8 and all("language_model" in name for name in names)
    assert not torch.allclose(model(tokens()).logits, plain, atol=1e-4)


CAUSAL: dict[str, PretrainedConfig] = {
    "GPTJForCausalLM": GPTJConfig(n_embd=32, n_layer=2, n_head=4, vocab_size=60, rotary_dim=4),
    "FalconForCausalLM": FalconConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, vocab_size=60),
    "BloomForCausalLM": BloomConfig(hidden_size=32, n_layer=2, n_head=4, vocab_size=60),
}


@pytest.mark.parametrize("name", CAUSAL)
def test_an_unsupported_family_is_named_at_once(name: str) -> None:
    model = AutoModelForCausalLM.from_config(CAUSAL[name])
    modules = dict(model.named_modules()).keys()
    with pytest.raises(InputError, match=f"family '{CAUSAL[name].model_type}'"):
        get_peft_model(model, NeuralTuningConfig(d_z=16))
    assert dict(model.named_modules()).keys() == modules


@pytest.mark.parametrize("name", ["FalconForCausalLM", "BloomForCausalLM"])
def test_naming_the_attention_modules_of_an_unsupported_family_does_not_help(name: str) -> None:
    model = AutoModelForCausalLM.from_config(CAUSAL[name])
    with pytest.raises(InputError, match=f"does not know how {name.removesuffix('ForCausalLM')}Attention computes"):
        get_peft_model(model, NeuralTuningConfig(d_z=16, target_modules=["self_attention"]))


@pytest.mark.parametrize(
    ("family", "attention", "keeper"),
    [("gptj", "attn", "GPTJModel"), ("stablelm", "self_attn", "StableLmDecoderLayer")],
)
def test_a_family_that_drops_the_state_on_the_way_is_named_at_once(family: str, attention: str, keeper: str) -> None:
    model = AutoModelForCausalLM.from_config(CAUSAL["GPTJForCausalLM"]) if family == "gptj" else base_model(family)
    names = [name for name, _ in model.named_modules()]
    with pytest.raises(InputError, match=f"ForCausalLM: {keeper} hands no additional keyword arguments on"):
        get_peft_model(model, NeuralTuningConfig(d_z=16, target_modules=[attention]))
    assert [name for name, _ in model.named_modules()] == names


def in_a_dictionary(model: Any) -> None:
    model.model.layers = nn.ModuleDict({str(number): layer for number, layer in enumerate(model.model.layers)})


def in_two_lists(model: Any) -> None:
    model.model.more_layers = model.model.layers[2:]
    model.model.layers = model.model.layers[:2]


@pytest.mark.parametrize(
    ("arrange", "message"),
    [
        (in_a_dictionary, r"'model\.layers\.0\.self_attn' does not lie in a list of decoder layers"),
        (in_two_lists, r"along one list of layers, but .* in several: model\.layers, model\.more_layers"),
    ],
)
def test_layers_that_are_not_in_one_list_are_refused(arrange: Callable[[Any], None], message: str) -> None:
    model = base_model()
    arrange(model)
    with pytest.raises(InputError, match=message):
        get_peft_model(model, NeuralTuningConfig(d_z=16))
    assert not layers_of(model)


class StrictAttention(LlamaAttention):
    """As a model's own code may declare it: nothing but what it uses."""

    def forward(self, hidden_states, position_embeddings=None, attention_mask=None, past_key_values=None):  # type: ignore[no-untyped-def]
        return super().forward(hidden_states, position_embeddings, attention_mask, past_key_values)


def test_an_attention_that_takes_no_further_arguments_is_named_at_once() -> None:
    model = base_model()
    for layer in model.model.layers:
        layer.self_attn.__class__ = StrictAttention
    with pytest.raises(InputError, match="LlamaForCausalLM: StrictAttention takes no additional keyword arguments"):
        get_peft_model(model, NeuralTuningConfig(d_z=16))


def test_encoders_and_encoder_decoders_are_refused() -> None:
    small = {"d_model": 32, "num_layers": 2, "num_heads": 4, "d_ff": 32, "d_kv": 8, "vocab_size": 60}
    with pytest.raises(InputError, match="family 't5'"):
        get_peft_model(AutoModelForSeq2SeqLM.from_config(T5Config(**small)), NeuralTuningConfig(d_z=16))
    bert = BertConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=32, vocab_size=60)
    with pytest.raises(InputError, match="family 'bert'"):
        get_peft_model(AutoModel.from_config(bert), NeuralTuningConfig(d_z=16))


def test_the_supported_families_exist_in_transformers() -> None:
    for family in SUPPORTED:
        assert AutoConfig.for_model(family).model_type == family


def test_a_decoder_layer_called_alone_says_what_is_missing() -> None:
    model = tuned_model()
    with pytest.raises(RunError, match="did not reach LlamaAttention"):
        layers_of(model)[0](torch.randn(1, 2, HIDDEN))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target_modules": ["attention"]}, r"target_modules=\['attention'\] matches no module"),
        ({"target_modules": "all-linear"}, "matches no module of LlamaForCausalLM"),
        ({"target_modules": ["q_proj"]}, "does not know how Linear computes"),
        ({"target_modules": ["lm_head"]}, "does not know how Linear computes"),
        ({"layers_pattern": "blocks"}, r"'model\.layers\.0\.self_attn' does not lie in a numbered list of layers"),
        ({"exclude_modules": ["self_attn"]}, "matches no module of LlamaForCausalLM"),
        ({"d_z": HIDDEN + 1}, f"hidden size of LlamaForCausalLM, which is {HIDDEN}, got {HIDDEN + 1}"),
        ({"layers_to_transform": [1, 4]}, r"does not have: \[4\]; its tunable layers are 0 to 3"),
        ({"layers_to_transform": 7}, r"does not have: \[7\]"),
        ({"first_layer": 4}, "first_layer is 4, but the last of the 4 tunable layers of LlamaForCausalLM is number 3"),
    ],
    ids=str,
)
def test_settings_that_do_not_fit_the_model_are_refused_before_anything_changes(
    settings: dict[str, Any], message: str
) -> None:
    model = base_model()
    names = [name for name, _ in model.named_modules()]
    trainable = [parameter.requires_grad for parameter in model.parameters()]
    with pytest.raises(InputError, match=message):
        get_peft_model(model, NeuralTuningConfig(**{"d_z": 16, **settings}))
    assert [name for name, _ in model.named_modules()] == names
    assert [parameter.requires_grad for parameter in model.parameters()] == trainable
    tuned = tuned_model()
    expected = tuned(tokens()).logits
    with pytest.raises(InputError):
        tuned.add_adapter("other", NeuralTuningConfig(**{"d_z": 16, **settings}))
    assert torch.equal(tuned(tokens()).logits, expected)
    assert set(tuned.peft_config) == {"default"}
