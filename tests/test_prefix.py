"""Prefix tuning as the tuner of a multimodal model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PromptTuningConfig, TaskType
from transformers import DynamicCache

from neuraltuning.encoders import load_encoder
from neuraltuning.errors import InputError
from neuraltuning.generate import generate, opening
from neuraltuning.llm import load_llm
from neuraltuning.model import MultitaskModel, Query
from neuraltuning.packing import Packer
from neuraltuning.tasks import Example
from tests.tiny_models import lively, model_settings, sample

TOKENS = 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def prefixed(folder: Path, family: str = "llama", **settings: Any) -> MultitaskModel:
    """A tiny model with a prefix that says something."""
    tuner = {
        "method": "prefix_tuning",
        "settings": {"prefix_tuning": {"num_virtual_tokens": TOKENS, **settings}},
    }
    return lively(MultitaskModel.build(model_settings(folder, family, tuner=tuner)))


def examples() -> list[Example]:
    squares = sample()
    mask = squares.objects[0].mask
    return [
        Example("a", "a/1", squares.image, "Segment the red square.", "The red square <OBJ>.", {"<OBJ>": [mask]}),
        Example("b", "b/1", squares.image, "What is this?", "Two squares."),
        Example("c", "c/1", None, "Say yes.", "Yes."),
    ]


@pytest.mark.parametrize("family", ["llama", "gemma2", "qwen2", "gpt2"])
def test_every_position_attends_to_the_prefix_as_to_what_a_cache_holds(folder: Path, family: str) -> None:
    model = prefixed(folder, family)
    batch = Packer(model, 400)([[example] for example in examples()[2:]])
    embeds = model.embed(batch.input_ids)
    with torch.no_grad():
        ours = model.run(embeds, batch).last_hidden_state
        cache = model.llm.get_prompt(batch_size=1)
        assert isinstance(cache, DynamicCache)
        length = embeds.shape[1]
        theirs = model.language_model.get_decoder()(
            inputs_embeds=embeds.to(model.language_model.dtype),
            attention_mask=torch.ones(1, TOKENS + length),
            position_ids=torch.arange(length)[None],
            past_key_values=cache,
        ).last_hidden_state
        with model.llm.disable_adapter():
            without = model.run(embeds, batch).last_hidden_state
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    assert (ours - without).abs().max() > 1e-2


def test_only_the_prefix_of_the_language_model_is_trained(folder: Path) -> None:
    model = prefixed(folder).train()
    tuner = {name: p for name, p in model.trainable_parameters().items() if name.startswith("tuner.")}
    [(name, parameter)] = tuner.items()
    assert "prompt_encoder" in name
    model(Packer(model, 400)([examples()])).total.backward()
    assert parameter.grad is not None and bool(parameter.grad.abs().sum(1).all())  # of every virtual token
    assert all(p.grad is None for p in model.language_model.parameters())


def test_batched_replies_are_those_that_each_gets_alone(folder: Path) -> None:
    model = prefixed(folder)
    queries = [Query(e.image, e.prompt, max_new_tokens=20) for e in examples()[:2]]
    together = model.reply_batch(queries)
    for query, reply in zip(queries, together, strict=True):
        [alone] = model.reply_batch([query])
        assert alone.text == reply.text
        assert (alone.masks == reply.masks).all()
    assert together[0].text != together[1].text


def test_replies_are_the_likeliest_tokens_of_a_whole_pass(folder: Path) -> None:
    model = prefixed(folder)
    prompt = model.format.prompt_ids("What is this?")
    with torch.no_grad():
        _, projected = model.see(model.encoder.preprocess([sample().image]))
        [reply] = generate(model, [prompt], projected, torch.zeros(1, dtype=torch.int64), [12]).ids
        ids = [*opening(model, True), *prompt, *reply]
        embeds = model.embed(torch.tensor([ids]), projected, torch.zeros(1, dtype=torch.int64))
        mask = torch.full((1, 1, len(ids), len(ids)), torch.finfo(torch.float32).min).triu(1)
        hidden = model.hidden_states(embeds, attention_mask=mask, position_ids=torch.arange(len(ids))[None])
        likeliest = model.logits(hidden.last_hidden_state[0]).argmax(-1)
    assert len(reply) > 3
    assert likeliest[-len(reply) - 1 : -1].tolist() == reply


@pytest.mark.parametrize("settings", [{}, {"prefix_projection": True, "encoder_hidden_size": 8}])
def test_a_saved_model_replies_as_before(folder: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    model = prefixed(folder, **settings)
    loaded = MultitaskModel.from_pretrained(model.save_pretrained(tmp_path / "model"))
    for example in examples()[:2]:
        assert loaded.reply(example.image, example.prompt).text == model.reply(example.image, example.prompt).text


def test_virtual_tokens_in_the_input_are_refused(folder: Path) -> None:
    settings = model_settings(folder)
    llm, tokenizer = load_llm(settings.llm, torch.float32)
    config = PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=3)
    with pytest.raises(InputError, match="prefix_tuning or ia3"):
        MultitaskModel(
            settings, llm=llm, tokenizer=tokenizer, encoder=load_encoder(settings.encoder), peft_config=config
        )
