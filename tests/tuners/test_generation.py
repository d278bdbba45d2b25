"""Decoding and batching: cached equals full, beams, padding, batches, threads, embeddings and masks as inputs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from peft import PeftModel

from neuraltuning.tuners import NeuralTuningConfig
from tests.tuners.tiny import HIDDEN, base_model, randomize, tokens, tuned_model


@torch.no_grad()
def stepwise(model: PeftModel, ids: torch.Tensor, sizes: list[int]) -> torch.Tensor:
    """The logits, computed with a cache in parts of these sizes."""
    cache, steps = None, []
    for chunk in ids.split(sizes, dim=1):
        output = model(chunk, past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        steps.append(output.logits)
    return torch.cat(steps, dim=1)


@pytest.mark.parametrize("settings", [{}, {"norm_after_carry": True, "kept_values": "excess"}, {"carry": False}])
@pytest.mark.parametrize("pattern", ["gaussian", "top2beta_random", "level_random", "distribution_random", "all"])
def test_stepwise_decoding_equals_the_full_forward(pattern: str, settings: dict[str, Any]) -> None:
    model = tuned_model(NeuralTuningConfig(d_z=16, activation_pattern=pattern, **settings))
    ids = tokens(2, 12)
    with torch.no_grad():
        full = model(ids).logits
    assert (stepwise(model, ids, [5, 1, 1, 1, 4]) - full).abs().max() < 2e-6


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("mistral", {"sliding_window": 4}),
        ("gemma2", {"sliding_window": 4}),
        ("gemma3_text", {"sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"] * 2}),
    ],
)
def test_stepwise_decoding_behind_a_sliding_window(family: str, settings: dict[str, Any]) -> None:
    model = tuned_model(family=family, **settings)
    ids = tokens(2, 12)
    with torch.no_grad():
        full = model(ids).logits
        assert not torch.allclose(full, tuned_model(family=family, **{**settings, "sliding_window": 64})(ids).logits)
    assert (stepwise(model, ids, [6, 1, 1, 1, 3]) - full).abs().max() < 1e-5


def test_a_cache_of_fixed_size_gives_the_same_tokens() -> None:
    model = tuned_model()
    settings: dict[str, Any] = {"max_new_tokens": 6, "do_sample": False}
    static = model.generate(tokens(), cache_implementation="static", disable_compile=True, **settings)
    assert torch.equal(static, model.generate(tokens(), use_cache=False, **settings))


@pytest.mark.parametrize("settings", [{"num_beams": 3}, {"num_beams": 4, "length_penalty": 0.3}], ids=str)
def test_beam_search_with_and_without_a_cache(settings: dict[str, Any]) -> None:
    model = tuned_model()
    plain = model.generate(tokens(3), max_new_tokens=8, do_sample=False, use_cache=False, **settings)
    cached = model.generate(tokens(3), max_new_tokens=8, do_sample=False, **settings)
    assert torch.equal(plain, cached)
    assert not torch.equal(cached, base_model().generate(tokens(3), max_new_tokens=8, do_sample=False, **settings))


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(side: str) -> None:
    model = tuned_model()
    ids = tokens(2, 9)
    padded = torch.zeros(2, 12, dtype=torch.long)
    mask = torch.zeros_like(padded)
    where = slice(3, None) if side == "left" else slice(0, 9)
    padded[:, where], mask[:, where] = ids, 1
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        plain = model(ids).logits
        with_padding = model(padded, attention_mask=mask, position_ids=positions).logits[:, where]
    assert (plain - with_padding).abs().max() < 2e-6


def test_generation_from_left_padded_prompts() -> None:
    model = tuned_model()
    long, short = tokens(1, 9, seed=1), tokens(1, 5, seed=2)
    batch = torch.cat([long, torch.cat([torch.zeros(1, 4, dtype=torch.long), short], dim=1)])
    mask = (batch != 0).long()
    together = model.generate(batch, attention_mask=mask, max_new_tokens=7, do_sample=False)
    assert torch.equal(together[0, 9:], model.generate(long, max_new_tokens=7, do_sample=False)[0, 9:])
    assert torch.equal(together[1, 9:], model.generate(short, max_new_tokens=7, do_sample=False)[0, 5:])


def test_a_sample_does_not_depend_on_its_batch() -> None:
    model = tuned_model()
    ids = tokens(5)
    with torch.no_grad():
        together = model(ids).logits
        apart = torch.cat([model(row[None]).logits for row in ids])
    assert (together - apart).abs().max() < 2e-6


def test_training_on_one_batch_equals_training_on_its_samples() -> None:
    def total(model: PeftModel, batches: list[torch.Tensor]) -> torch.Tensor:
        for batch in batches:
            (model(batch).logits ** 2).sum().backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    ids = tokens(4)
    config = NeuralTuningConfig(d_z=16, fluctuation=0.0)
    together = total(tuned_model(config).train(), [ids])
    apart = total(tuned_model(config).train(), list(ids.split(1)))
    assert torch.allclose(together, apart, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_embeddings_and_a_four_dimensional_mask_as_inputs(dtype: torch.dtype) -> None:
    """The way a multimodal model calls: the whole model, `generate`, and the decoder without the head."""
    model = tuned_model().to(dtype)
    embeddings = torch.randn(2, 9, HIDDEN).to(dtype)
    allowed = torch.ones(9, 9).tril().bool()
    allowed[:4, :4] = True  # an image part that sees itself in both directions
    mask = torch.zeros(2, 1, 9, 9, dtype=dtype).masked_fill(~allowed, torch.finfo(dtype).min)
    positions = torch.arange(9).expand(2, -1)
    inputs = {"inputs_embeds": embeddings, "attention_mask": mask, "position_ids": positions}
    with torch.no_grad():
        whole = model(**inputs, output_hidden_states=True)
        decoder = model.base_model.model.model(**inputs)
        causal = model(inputs_embeds=embeddings)
    assert torch.equal(whole.hidden_states[-1], decoder.last_hidden_state)
    assert len(whole.hidden_states) == 5
    assert not torch.allclose(whole.logits, causal.logits, atol=1e-3)
    generated = model.generate(inputs_embeds=embeddings, max_new_tokens=3, do_sample=False)
    assert generated.shape == (2, 3)
    assert torch.equal(generated[:, 0], causal.logits[:, -1].argmax(-1))
    model.train()
    model.base_model.model.model(**inputs).last_hidden_state.float().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)


def test_several_threads_generate_at_once() -> None:
    model = tuned_model()
    prompts = [tokens(1, 3 + number % 5, seed=number) for number in range(48)]

    def reply(prompt: torch.Tensor) -> torch.Tensor:
        return model.generate(prompt, max_new_tokens=6, do_sample=False)

    expected = [reply(prompt) for prompt in prompts]
    with ThreadPoolExecutor(8) as pool:
        for one, other in zip(pool.map(reply, prompts), expected, strict=True):
            assert torch.equal(one, other)


def test_several_threads_train_and_generate_at_once() -> None:
    """Each thread's calls keep their own state, with gradients and without."""
    model = tuned_model(NeuralTuningConfig(d_z=16)).base_model.model
    jobs = [(number % 2 == 0, tokens(2, 4 + number % 3, seed=number)) for number in range(48)]

    def work(job: tuple[bool, torch.Tensor]) -> torch.Tensor:
        training, batch = job
        if not training:
            return model.generate(batch, max_new_tokens=5, do_sample=False).float()
        weight = model.model.layers[0].self_attn.neural_tuning_down["default"].weight
        return torch.autograd.grad(model(batch, labels=batch).loss, weight)[0]

    expected = [work(job) for job in jobs]
    with ThreadPoolExecutor(6) as pool:
        for one, other in zip(pool.map(work, jobs), expected, strict=True):
            assert torch.allclose(one, other, atol=1e-7)


def test_switching_adapters_between_replies() -> None:
    model = tuned_model()
    model.add_adapter("other", NeuralTuningConfig(d_z=8))
    randomize(model, "other", seed=9)
    replies: dict[str, torch.Tensor] = {}
    for name in ("default", "other", "default", "other"):
        model.set_adapter(name)
        reply = model.generate(tokens(), max_new_tokens=8, do_sample=False)
        assert torch.equal(replies.setdefault(name, reply), reply)
    assert not torch.equal(replies["default"], replies["other"])
