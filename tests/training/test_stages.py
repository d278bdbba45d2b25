"""What each stage learns from: mentions without images, the joint batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from neuraltuning.model import MultitaskModel
from neuraltuning.packing import IMAGE_PLACE
from neuraltuning.tasks import Example, get_task
from neuraltuning.training.stages import Warmup, mentions
from tests.tiny_models import lively, model_settings, sample


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture
def model(folder: Path) -> MultitaskModel:
    return lively(MultitaskModel.build(model_settings(folder)))


def rows(count: int = 3) -> list[list[Example]]:
    rng = np.random.default_rng(0)
    names = ("referring_segmentation", "reasoning_segmentation", "text_to_image")
    samples = [sample(i) for i in range(count)]
    return [[e for name in names for e in get_task(name).examples(one, rng)] for one in samples]


# --- warm-up ------------------------------------------------------------------------------------------------------


def test_a_mention_is_the_words_up_to_its_token() -> None:
    first, second = sample().objects
    example = Example(
        "referring_segmentation",
        "0",
        sample().image,
        "Please segment them.",
        "The red square <OBJ> and the blue square <OBJ>.",
        {"<OBJ>": [first.mask, second.mask]},
    )
    cuts = mentions(example)
    assert [(c.prompt, c.reply) for c in cuts] == [("", "The red square <OBJ>"), ("", "and the blue square <OBJ>")]
    assert [c.targets["<OBJ>"][0] is o.mask for c, o in zip(cuts, (first, second), strict=True)] == [True, True]
    assert all(c.image is example.image for c in cuts)


def test_without_an_image_the_whole_text_is_read() -> None:
    [example] = get_task("text_to_image").examples(sample(), np.random.default_rng(0))
    [cut] = mentions(example)
    assert (cut.prompt, cut.reply) == (example.prompt, "Here is the picture <GEN>")
    assert cut.targets == {"<GEN>": [example.sample.image]}


def test_texts_without_task_tokens_are_left_out() -> None:
    [example] = get_task("captioning").examples(sample(), np.random.default_rng(0))
    assert mentions(example) == []


def test_the_warm_up_reads_texts_alone_but_masks_belong_to_their_images(model: MultitaskModel) -> None:
    batch = Warmup(model, 300).collate(rows())
    assert not (batch.input_ids == IMAGE_PLACE).any()
    assert len(batch.pixel_values) == 3
    n_masks = sum(len(e.targets.get("<OBJ>", ())) for row in rows() for e in row)
    assert len(batch.tokens["<OBJ>"].rows) == n_masks
    assert len(batch.tokens["<GEN>"].rows) == 3


def test_the_warm_up_teaches_bridges_and_decoders_alone(model: MultitaskModel) -> None:
    stage = Warmup(model, 300).train()
    losses = stage(stage.collate(rows()))
    losses.total.backward()
    assert set(losses.parts) == {"mask_dice", "mask_bce", "gen_mse"}
    for name, parameter in model.trainable_parameters().items():
        assert (parameter.grad is not None) == name.startswith(("bridges.", "decoders.")), name


def test_the_warm_up_reads_the_untuned_language_model(model: MultitaskModel) -> None:
    stage = Warmup(model, 300).eval()
    batch = stage.collate(rows())
    before = float(stage(batch).total)
    lively_tuner = {n: p for n, p in model.trainable_parameters().items() if n.startswith("tuner.")}
    with torch.no_grad():
        for parameter in lively_tuner.values():
            parameter.mul_(-2.0)
    assert float(stage(batch).total) == before


@pytest.mark.parametrize("sources", [[["token", 1]], [["predicting", 2]], [["token", 0]], [["token", -1]]], ids=str)
def test_the_layers_that_the_warm_up_leaves_out_change_nothing(folder: Path, sources: list[list[object]]) -> None:
    """It runs the language model only as deep as the bridges read."""
    model = lively(MultitaskModel.build(model_settings(folder, state={"size": 24, "sources": sources})))
    stage = Warmup(model, 300).eval()
    batch = stage.collate(rows())
    shallow = {name: float(value) for name, value in stage(batch).parts.items()}
    decoder = model.language_model.get_decoder()
    assert len(decoder.layers) == 3  # all are there again
    with torch.no_grad(), model.llm.disable_adapter():
        states = model.run(model.embed(batch.input_ids), batch).hidden_states
        features = model.see(batch.pixel_values)[0]
        full = model.decoder_losses(states, features, batch)[1]
    assert shallow == pytest.approx({name: float(value) for name, value in full.items()}, rel=1e-4)


def test_preparing_the_warm_up_standardises_the_states(model: MultitaskModel) -> None:
    stage = Warmup(model, 300)
    many = rows(12)
    stage.prepare(many)
    batch = stage.collate(many)
    with torch.no_grad(), model.llm.disable_adapter():
        states = model.run(model.embed(batch.input_ids), batch).hidden_states
    for token, found in batch.tokens.items():
        bridge = model.bridges[model.decoder_of(token)[0]]
        gathered = bridge.gather(states, found.rows, found.positions)
        standard = (gathered - bridge.mean) * bridge.scale
        assert float(standard.mean(0).abs().max()) < 1e-3
        assert float(standard.std(0).max()) < 1.01
        assert float(standard.std(0).median()) > 0.9
