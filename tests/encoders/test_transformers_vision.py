"""Transformers vision models as encoders, on tiny random models made from configs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from neuraltuning.encoders import load_encoder
from neuraltuning.encoders.transformers_vision import TransformersVisionEncoder
from neuraltuning.errors import InputError

SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 6,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}


def save(kind: str, folder: Path) -> Path:
    import transformers as t

    model: Any
    torch.manual_seed(0)
    if kind == "clip":
        model = t.CLIPVisionModelWithProjection(t.CLIPVisionConfig(**SMALL, projection_dim=24))
    elif kind == "clip_pair":
        text = {**SMALL, "vocab_size": 100}
        model = t.CLIPModel(t.CLIPConfig(text_config=text, vision_config=SMALL, projection_dim=24))
    elif kind == "siglip":
        model = t.SiglipVisionModel(t.SiglipVisionConfig(**SMALL))
    elif kind == "siglip_pair":
        model = t.SiglipModel(t.SiglipConfig(text_config={**SMALL, "vocab_size": 100}, vision_config=SMALL))
    else:
        model = t.Dinov2Model(t.Dinov2Config(**{k: v for k, v in SMALL.items() if k != "intermediate_size"}))
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.5] * 3, "image_std": [0.25] * 3, "size": {"height": 32, "width": 32}})
    )
    return folder


EMBEDDING = {"clip": 24, "clip_pair": 24, "siglip": 32, "siglip_pair": 32, "dinov2": 32}


@pytest.mark.parametrize("kind", list(EMBEDDING))
def test_every_family_gives_tokens_maps_and_embedding(kind: str, tmp_path: Path) -> None:
    encoder = load_encoder(str(save(kind, tmp_path)))
    images = [Image.new("RGB", (50, 40), "red"), Image.new("L", (20, 20))]
    features = encoder(encoder.preprocess(images), embedding=True)
    assert encoder.grid == (4, 4)
    assert features.tokens.shape == (2, 16, 32) == (2, 16, encoder.token_size)
    assert tuple(tuple(m.shape[1:]) for m in features.maps) == encoder.map_shapes == ((32, 4, 4),) * 3
    assert features.embedding.shape == (2, EMBEDDING[kind]) == (2, encoder.embedding_size)
    assert not any(p.requires_grad for p in encoder.parameters())
    assert not encoder.train().training


def test_tokens_and_maps_come_from_the_stated_layers(tmp_path: Path) -> None:
    encoder = load_encoder(str(save("clip", tmp_path)))
    assert isinstance(encoder, TransformersVisionEncoder)
    pixels = encoder.preprocess([Image.new("RGB", (32, 32), "green")])
    features = encoder(pixels)
    states = encoder.model(pixel_values=pixels, output_hidden_states=True).hidden_states
    torch.testing.assert_close(features.tokens, states[-2][:, 1:])
    for layer, feature_map in zip((4, 4, 6), features.maps, strict=True):  # 14/24, 17/24, 23/24 of 6, rounded
        torch.testing.assert_close(feature_map.flatten(2).transpose(1, 2), states[layer][:, 1:])


def test_the_class_token_is_optional(tmp_path: Path) -> None:
    plain = load_encoder(str(save("clip", tmp_path)))
    assert isinstance(plain, TransformersVisionEncoder)
    encoder = TransformersVisionEncoder(plain.model, name="clip", class_token=True)
    assert encoder(encoder.preprocess([Image.new("RGB", (9, 9))])).tokens.shape == (1, 17, 32)


def test_pixels_are_normalised_as_the_processor_says(tmp_path: Path) -> None:
    encoder = load_encoder(str(save("siglip", tmp_path)))
    pixels = encoder.preprocess([Image.new("RGB", (5, 5), "white")])
    torch.testing.assert_close(pixels, torch.full((1, 3, 32, 32), 2.0))


def test_a_missing_encoder_is_named_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere") as caught:
        load_encoder(str(tmp_path / "nowhere"))
    assert "\n" not in str(caught.value)


def test_a_language_model_is_refused(tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2Model

    GPT2Model(GPT2Config(n_layer=1, n_embd=8, n_head=1, vocab_size=10)).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="no square patches"):
        load_encoder(str(tmp_path))


def test_weights_that_do_not_fit_are_refused_rather_than_made_up(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = save("dinov2", tmp_path) / "model.safetensors"
    weights = load_file(path)
    del weights["layernorm.weight"]
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"layernorm\.weight"):
        load_encoder(str(tmp_path))
