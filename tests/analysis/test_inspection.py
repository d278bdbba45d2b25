"""Looking into a reply: neurons and attention of one pass, against passes made by other means."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from neuraltuning.analysis.inspection import PARTS, Inspection, inspect_reply
from neuraltuning.errors import InputError
from neuraltuning.model import MultitaskModel
from neuraltuning.packing import IMAGE_PLACE, NO_LABEL, Packer
from neuraltuning.tasks import Example
from neuraltuning.tuners.neural import record_activations
from tests.tiny_models import LAYERS, lively, model_settings, sample

SQUARES = sample()
PROMPT = "Please segment the red square and the blue square."
REPLY = "The red square <OBJ> and the blue square <OBJ>."
SLOTS = 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def built(folder: Path, family: str = "llama", **changes: Any) -> MultitaskModel:
    return lively(MultitaskModel.build(model_settings(folder, family, names={"slots": SLOTS}, **changes)))


@pytest.fixture(scope="module")
def model(folder: Path) -> MultitaskModel:
    return built(folder)


@pytest.fixture(scope="module")
def inspection(model: MultitaskModel) -> Inspection:
    return inspect_reply(model, SQUARES.image, PROMPT, REPLY, ["blue square"])


def test_each_object_token_and_word_has_its_weights(model: MultitaskModel, inspection: Inspection) -> None:
    assert [look.word for look in inspection.looks] == ["<OBJ>", "<OBJ>", "blue square"]
    assert inspection.tokens[-1] == "</s>"
    for look in inspection.looks:
        assert look.weights.shape == look.described.shape == (LAYERS, 4, 4, 4)
        assert look.map.shape == (4, 4) and look.map == pytest.approx(look.weights.mean((0, 1)))
        assert tuple(look.shares) == PARTS
        assert sum(look.shares.values()) == pytest.approx(np.ones((LAYERS, 4)), abs=1e-5)
        assert look.weights.sum((2, 3)) == pytest.approx(look.shares["patches"], abs=1e-6)
        assert (look.weights > 0).all() and (look.shares["names"] > 0).all()
        assert (look.described.sum((2, 3)) <= look.shares["names"] + 1e-6).all()
    first, second, words = inspection.looks
    assert [inspection.tokens[place] for place in (*first.places, *second.places)] == ["<OBJ>", "<OBJ>"]
    assert "".join(inspection.tokens[place] for place in words.places).strip() == "blue square"
    assert words.places[-1] == second.places[0] - 1


def test_weights_are_those_of_the_tokens_positions(model: MultitaskModel, inspection: Inspection) -> None:
    format_ = model.format
    before = [1, *[IMAGE_PLACE] * model.image_length, *format_.prompt_ids(PROMPT)]
    ids = torch.tensor([[*before, *format_.reply_ids(REPLY)]])
    llm = model.language_model
    llm.set_attn_implementation("eager")
    with torch.no_grad():
        _, tokens = model.see(model.encoder.preprocess([SQUARES.image]))
        decoder = llm.get_decoder()
        attentions = decoder(
            inputs_embeds=model.embed(ids, tokens, torch.tensor([0])), output_attentions=True
        ).attentions
    llm.set_attn_implementation("sdpa")
    for look in inspection.looks:
        rows = [len(before) + place for place in look.places]
        for layer, weights in enumerate(attentions):
            seen = weights[0, :, rows].mean(1).numpy()
            assert look.weights[layer].reshape(4, -1) == pytest.approx(seen[:, 1:17], abs=1e-6)
            assert look.shares["names"][layer] == pytest.approx(seen[:, 17 : 17 + SLOTS].sum(1), abs=1e-6)
            assert look.shares["reply"][layer] == pytest.approx(seen[:, len(before) :].sum(1), abs=1e-6)


def test_names_are_laid_on_the_patches_that_they_describe(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = built(folder)
    assert model.naming is not None
    real = model.naming.forward

    def describing(tokens: torch.Tensor) -> Any:
        said = real(tokens)
        said.shares.zero_()[0, 2, [5, 6]] = 0.5  # the third name token describes two patches
        return said

    monkeypatch.setattr(model.naming, "forward", describing)
    look = inspect_reply(model, SQUARES.image, PROMPT, REPLY).looks[0]
    on_patches = look.described.reshape(LAYERS, 4, 16)
    assert (on_patches[..., 5] == on_patches[..., 6]).all() and (on_patches[..., 5] > 0).all()
    assert (np.delete(on_patches, [5, 6], axis=-1) == 0).all()


def test_patches_that_share_a_position_share_its_weight(folder: Path) -> None:
    model = built(folder, pooling=2)
    look = inspect_reply(model, SQUARES.image, PROMPT, REPLY).looks[0]
    assert look.weights.shape == (LAYERS, 4, 4, 4)
    squares = look.weights.reshape(LAYERS, 4, 2, 2, 2, 2)
    assert (squares == squares[..., :1, :, :1]).all() and (squares > 0).all()
    assert look.weights.sum((2, 3)) == pytest.approx(look.shares["patches"], abs=1e-6)


def test_active_neurons_are_those_of_a_packed_pass(model: MultitaskModel, inspection: Inspection) -> None:
    batch = Packer(model, 400)([[Example("t", "x", SQUARES.image, PROMPT, REPLY)]])
    with torch.no_grad(), record_activations(model.llm) as record:
        _, tokens = model.see(batch.pixel_values)
        model.run(model.embed(batch.input_ids, tokens, batch.image_order), batch)
    predicting = batch.labels[0] != NO_LABEL
    assert set(inspection.active) == set(range(LAYERS))
    for layer, active in record.joined().items():
        assert inspection.active[layer] == pytest.approx(active[0, predicting].float().mean(0).numpy())
        assert inspection.active[layer].mean() == pytest.approx(7 / 16)  # 0.4 of 16 neurons, rounded up


def test_earlier_turns_stand_before_the_prompt(model: MultitaskModel, inspection: Inspection) -> None:
    earlier = [("How many squares are there?", "2"), ("Describe the image.", "Two squares.")]
    found = inspect_reply(model, SQUARES.image, PROMPT, REPLY, earlier=earlier)
    turns = [*earlier, (PROMPT, REPLY)]
    said = [ids for asked, heard in turns for ids in (model.format.prompt_ids(asked), model.format.reply_ids(heard))]
    ids = torch.tensor(
        [[model.format.bos_id, *[IMAGE_PLACE] * model.image_length, *(i for part in said for i in part)]]
    )
    with torch.no_grad(), record_activations(model.llm) as record:
        _, tokens = model.see(model.encoder.preprocess([SQUARES.image]))
        model.hidden_states(model.embed(ids, tokens, torch.zeros(1, dtype=torch.int64)), use_cache=False)
    for layer, active in record.joined().items():
        of_reply = active[0, -len(said[-1]) - 1 : -1].float().mean(0).numpy()
        assert found.active[layer] == pytest.approx(of_reply)
    assert found.tokens == inspection.tokens
    assert sum(found.looks[0].shares.values()) == pytest.approx(np.ones((LAYERS, 4)), abs=1e-5)
    assert found.looks[0].shares["prompt"].mean() > inspection.looks[0].shares["prompt"].mean()


@pytest.mark.parametrize("family", ["qwen2", "gpt2", "gemma2", "gemma3_text"])
def test_other_families(folder: Path, family: str) -> None:
    model = built(folder, family)
    found = inspect_reply(model, SQUARES.image, PROMPT, REPLY, ["Red"])
    assert found.looks[2].word == "red" and len(found.active) == LAYERS
    for look in found.looks:
        assert sum(look.shares.values()) == pytest.approx(np.ones(look.weights.shape[:2]), abs=1e-5)


def test_the_model_is_left_as_it_was(folder: Path) -> None:
    model = built(folder).train()
    llm = model.language_model
    asked = [(SQUARES.image, PROMPT, REPLY)] * 6
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda arguments: inspect_reply(model, *arguments), asked))
    assert llm.config._attn_implementation == "sdpa" and model.training
    assert all((one.looks[0].weights == found[0].looks[0].weights).all() for one in found)
    with pytest.raises(InputError):
        inspect_reply(model, SQUARES.image, PROMPT, REPLY, ["zebra"])
    assert llm.config._attn_implementation == "sdpa"


def test_without_an_image_and_with_another_tuner(folder: Path) -> None:
    tuner = {"method": "lora", "settings": {"lora": {"r": 4, "target_modules": ["q_proj", "v_proj"]}}}
    model = built(folder, tuner=tuner)
    found = inspect_reply(model, None, "Draw: Two squares.", "Here is the picture <GEN>.")
    assert found.looks == () and found.active == {} and "<GEN>" in found.tokens
    assert len(inspect_reply(model, SQUARES.image, PROMPT, REPLY).looks) == 2


def test_without_names(folder: Path) -> None:
    model = lively(MultitaskModel.build(model_settings(folder)))
    [look, _] = inspect_reply(model, SQUARES.image, PROMPT, REPLY).looks
    assert not look.described.any() and not look.shares["names"].any()


@pytest.mark.parametrize(
    ("text", "reply", "words", "message"),
    [
        (" ", REPLY, (), "one of them is empty"),
        (PROMPT, "", (), "one of them is empty"),
        (PROMPT, REPLY, ["squar"], "has no word 'squar'"),
        (PROMPT, REPLY, [""], "has no word ''"),
        (PROMPT, REPLY * 100, (), "the model has room for 512; shorten the texts"),
    ],
)
def test_bad_input(model: MultitaskModel, text: str, reply: str, words: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        inspect_reply(model, SQUARES.image, text, reply, words)
