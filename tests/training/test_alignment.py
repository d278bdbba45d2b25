"""Closed-form starts: the projector says what image tokens show, and drawing decoders read what a text asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageColor

from neuraltuning.data.sample import Phrase, Sample
from neuraltuning.decoders.mask import MaskDecoder
from neuraltuning.model import MultitaskModel
from neuraltuning.naming import UNKNOWN
from neuraltuning.packing import Packer
from neuraltuning.tasks import get_task
from neuraltuning.training.alignment import (
    align,
    attribute_of,
    shown_attributes,
    shown_boxes,
    shown_objects,
    shown_words,
    word_vectors,
)
from tests.tiny_models import lively, model_settings, sample


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def test_a_token_shows_the_object_that_covers_a_quarter_of_its_cell() -> None:
    names = {"background": 0}
    for number in range(3):
        shown = shown_words(sample(number), shown_objects(sample(number), (4, 4)), names).reshape(4, 4)
        union = np.any([o.mask for o in sample(number).objects], axis=0)
        height, width = union.shape
        covered = union.reshape(4, height // 4, 4, width // 4).mean(axis=(1, 3))
        # where two objects share a cell, neither may reach a quarter alone
        assert (shown[covered < 0.25] == 0).all()
        assert (shown[covered > 0.5] == 1).all()
    assert names == {"background": 0, "square": 1}


def test_an_object_without_a_class_name_teaches_no_word() -> None:
    names = {"background": 0}
    objects = shown_objects(sample(0), (4, 4))
    nameless = replace(sample(0), objects=tuple(replace(o, category="") for o in sample(0).objects))
    shown = shown_words(nameless, objects, names)
    assert set(shown[objects >= 0]) == {UNKNOWN}
    assert set(shown[objects < 0]) == {0}
    assert names == {"background": 0}


def test_attributes_are_what_phrases_and_captions_say_before_the_name() -> None:
    shown = sample(0)
    objects = shown_objects(shown, (4, 4))
    assert set(shown_attributes(shown, objects)[objects >= 0]) == {"red", "blue"}
    assert set(shown_attributes(shown, objects)[objects < 0]) == {""}
    bare = replace(shown, objects=tuple(replace(o, phrases=()) for o in shown.objects))
    assert set(shown_attributes(bare, objects)) == {""}  # which of the two squares a caption calls red is not known
    alone = replace(bare, objects=bare.objects[:1], captions=("Here is A Red square.",))
    assert set(shown_attributes(alone, shown_objects(alone, (4, 4)))) == {"", "red"}


@pytest.mark.parametrize(
    ("phrase", "attribute"),
    [
        ("the green square", "green"),
        ("the square that is green", "green"),
        ("the Square in Green", "green"),
        ("the light green square", ""),  # two words
        ("the square", ""),
    ],
)
def test_an_attribute_is_the_one_word_that_a_phrase_adds_to_the_class(phrase: str, attribute: str) -> None:
    shown = sample(0)
    square = replace(shown.objects[0], phrases=(Phrase(phrase, "attribute"),))
    assert attribute_of(replace(shown, objects=(square, square)), square) == attribute
    elsewhere = replace(square, phrases=(Phrase(phrase, "size"),))
    assert attribute_of(replace(shown, objects=(elsewhere, elsewhere)), elsewhere) == ""


def test_boxes_of_tokens_are_those_of_the_objects_in_patches() -> None:
    shown = sample(0)
    objects = shown_objects(shown, (4, 4))
    boxes = shown_boxes(shown, objects, (4, 4))
    x, y, width, height = shown.objects[0].box
    rows, columns = shown.image.height / 4, shown.image.width / 4
    own = boxes[objects == 0]
    assert len(own)
    expected = [(y + height / 2) / rows, (x + width / 2) / columns, height / rows, width / columns]
    np.testing.assert_allclose(own, [expected] * len(own), rtol=1e-6)
    assert not boxes[objects < 0].any()


def test_aligned_tokens_of_an_object_are_nearest_to_its_word(folder: Path) -> None:
    model = lively(MultitaskModel.build(model_settings(folder)))
    before = {n: p.detach().clone() for n, p in model.trainable_parameters().items()}
    samples = [sample(number) for number in range(24)]
    share = align(model, samples, 24, seed=0, tasks=[get_task("referring_segmentation"), get_task("captioning")])
    assert share > 0.9
    changed = {n for n, p in model.trainable_parameters().items() if not torch.equal(p, before[n])}
    assert changed == {"projector.linear.weight", "projector.linear.bias"}
    pixels = model.encoder.preprocess([s.image for s in samples])
    words = model.see(pixels)[0].words
    assert words is not None
    similarity = torch.cosine_similarity(words.flatten(0, 1), word_vectors(model, ["square"]))
    shown = np.concatenate(
        [shown_words(s, shown_objects(s, model.encoder.grid), {"background": 0, "square": 1}) for s in samples]
    )
    is_square = torch.from_numpy(shown == 1)
    assert similarity[is_square].mean() > similarity[~is_square].mean() + 0.2


def test_outlines_are_learned_from_all_objects_of_the_images(folder: Path) -> None:
    decoders = {"mask": {"channels": [32, 32, 32, 32], "attention_layers": [0, 0, 0], "outlines": 16}}
    model = MultitaskModel.build(model_settings(folder, decoders=decoders))
    decoder = model.decoder("mask")
    assert isinstance(decoder, MaskDecoder)
    outlines = decoder.outlines
    assert outlines is not None
    samples = [sample(number) for number in range(96)]
    truth = np.stack([np.any([decoder.encode_target(o.mask) > 127 for o in s.objects], axis=0) for s in samples])
    features = model.see(model.encoder.preprocess([s.image for s in samples]))[0]

    @torch.no_grad()
    def contrast() -> float:
        """How much surer it is of an object where there is one than where there is none."""
        found = outlines(features)[..., 0]
        shown = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(truth).float(), found.shape[1:]) > 0.5
        return float(found[shown].mean() - found[~shown].mean())

    before, untrained = {n: p.detach().clone() for n, p in model.trainable_parameters().items()}, contrast()
    align(model, [replace(s, objects=()) if i % 8 == 0 else s for i, s in enumerate(samples)], 96, seed=0, tasks=[])
    changed = {n for n, p in model.trainable_parameters().items() if not torch.equal(p, before[n])}
    assert {name.split(".")[2] for name in changed if name.startswith("decoders.")} == {"outlines"}
    assert contrast() > max(0.4, 3.0 * abs(untrained))


def plain_pictures() -> list[Sample]:
    """Four shades of each colour, called by it."""
    return [
        replace(
            sample(),
            image=Image.new("RGB", (32, 32), ImageColor.getrgb(name)).point(lambda v, shade=shade: v ^ (3 * shade)),
            objects=(),
            captions=(f"A {name} square.",),
        )
        for shade in range(4)
        for name in ("red", "blue", "white", "black")
    ]


@torch.no_grad()
def drawing_losses(model: MultitaskModel, samples: Sequence[Sample]) -> list[float]:
    """`gen_mse` for the samples' own pictures, and for every rotation of them, from the words of their captions."""
    rng = np.random.default_rng(1)
    batch = Packer(model, 1000)([get_task("text_to_image").examples(s, rng) for s in samples])
    at = batch.tokens["<GEN>"]
    states = model.bridge("image").read_words(model.embed(batch.input_ids), at.rows, at.starts, at.positions)
    features = model.see(batch.pixel_values, embedding=True)[0]
    losses = [model.decoder("image").loss(states, features, at.owners.roll(n), None) for n in range(len(samples))]
    return [float(loss["gen_mse"]) for loss in losses]


def test_drawing_starts_from_the_words_of_the_texts(folder: Path) -> None:
    model = MultitaskModel.build(model_settings(folder))
    samples = plain_pictures()
    before, untrained = model.trained_state(), drawing_losses(model, samples)
    align(model, [*samples, sample()], 17, seed=0, tasks=[get_task("text_to_image"), get_task("captioning")])
    changed = {name for name, tensor in model.trained_state().items() if not torch.equal(tensor, before[name])}
    linear = {"decoders.image.linear.weight", "decoders.image.linear.bias"}
    assert {name for name in changed if not name.startswith("projector.")} == linear
    right, *wrong = drawing_losses(model, samples)
    assert right < 0.1 * untrained[0]
    assert right < 0.1 * np.mean(wrong)  # it does not draw the same for every text


def test_a_text_that_finds_no_room_is_left_out_of_the_start(folder: Path) -> None:
    fitted = []
    for captions in [("blue " * 1100,), ()]:
        model = MultitaskModel.build(model_settings(folder))
        samples = [sample(0), sample(1), replace(sample(2), captions=captions)]
        align(model, samples, 3, seed=0, tasks=[get_task("text_to_image")])
        fitted.append(model.trained_state()["decoders.image.linear.weight"])
    assert fitted[0].any()
    assert torch.equal(*fitted)


def test_the_words_are_vectors_that_the_layers_know(folder: Path) -> None:
    """Also where the embedding scales its rows (Gemma)."""
    model = MultitaskModel.build(model_settings(folder, "gemma3_text"))
    ids = model.format.tokenizer(" square", add_special_tokens=False).input_ids
    known = model.language_model.get_input_embeddings()(torch.tensor(ids)).float().mean(0)
    torch.testing.assert_close(word_vectors(model, ["square"])[0] + model.word_mean, known.detach())
