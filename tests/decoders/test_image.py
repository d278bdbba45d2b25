"""The image decoder: its loss, closed-form start, drawing, and what of it is saved."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image

from neuraltuning.decoders.image import ImageDecoder
from neuraltuning.encoders.base import ImageEncoder, ImageFeatures
from neuraltuning.errors import InputError
from neuraltuning.generation.prior import ImagePrior, PriorConfig
from neuraltuning.generation.tokenizer import ImageTokenizer, TokenizerConfig

STATE, EMBEDDING = 24, 12


@pytest.fixture
def decoder(tmp_path: Path) -> ImageDecoder:
    torch.manual_seed(0)
    config = PriorConfig("tiny", EMBEDDING, 6, 20, 4, hidden_size=32, layers=1, heads=2, intermediate_size=32)
    prior = ImagePrior(config)
    prior.component_basis.copy_(torch.linalg.qr(torch.randn(EMBEDDING, 6)).Q)
    prior.component_mean.normal_()
    prior.component_std.copy_(torch.linspace(2.0, 0.5, 6))
    prior.save(tmp_path / "prior.safetensors")
    ImageTokenizer(TokenizerConfig(16, 4, (8,), 4, 20)).save(tmp_path / "tokenizer.safetensors")
    return build(tmp_path)


class TinyEncoder(ImageEncoder):
    """Declares an embedding size; the decoder needs no more of it."""

    name = "mine"

    def __init__(self, embedding_size: int) -> None:
        super().__init__()
        self.embedding_size = embedding_size

    def preprocess(self, images: Sequence[Image.Image]) -> torch.Tensor:
        raise NotImplementedError

    def forward(self, pixel_values: torch.Tensor) -> ImageFeatures:
        raise NotImplementedError


def build(folder: Path, embedding_size: int = EMBEDDING) -> ImageDecoder:
    return ImageDecoder(
        state_size=STATE,
        encoder=TinyEncoder(embedding_size),
        hidden_size=16,
        prior=folder / "prior.safetensors",
        tokenizer=folder / "tokenizer.safetensors",
    )


def features(embedding: torch.Tensor) -> ImageFeatures:
    return ImageFeatures(tokens=torch.zeros(len(embedding), 1, 1), maps=(), embedding=embedding)


def scene_embeddings(decoder: ImageDecoder, components: torch.Tensor) -> torch.Tensor:
    prior = decoder._parts[0]
    return prior.component_mean + (components * prior.component_std) @ prior.component_basis.T


def test_the_loss_is_the_weighted_mean_squared_error_of_the_embedding(decoder: ImageDecoder) -> None:
    states = torch.randn(5, STATE)
    with torch.no_grad():
        decoder.linear.weight.normal_()
    embeddings = scene_embeddings(decoder, torch.randn(5, 6))
    predicted = scene_embeddings(decoder, decoder.components(states))
    shuffled = torch.tensor([3, 0, 4, 1, 2])
    loss = decoder.loss(states, features(embeddings[shuffled.argsort()]), shuffled, None)
    assert set(loss) == {"gen_mse"}
    torch.testing.assert_close(loss["gen_mse"], 10.0 * (predicted - embeddings).square().mean(), rtol=1e-3, atol=0)


def test_untrained_it_stands_at_the_mean_embedding(decoder: ImageDecoder) -> None:
    assert torch.equal(decoder.components(torch.randn(3, STATE)), torch.zeros(3, 6))


def test_a_few_steps_lower_the_loss(decoder: ImageDecoder) -> None:
    states = torch.randn(32, STATE)
    target = features(scene_embeddings(decoder, states[:, :6]))
    optimizer = torch.optim.Adam([p for p in decoder.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = decoder.loss(states, target, torch.arange(32), None)["gen_mse"]
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]


def test_it_draws_one_picture_a_token_the_same_in_any_batch(decoder: ImageDecoder) -> None:
    states = 3 * torch.randn(4, STATE)
    with torch.no_grad():
        decoder.linear.weight.normal_()
    together = decoder.decode(states, None, None, [], [1, 2, 3, 4])
    alone = decoder.decode(states[2:3], None, None, [], [3])
    assert [image.size for image in together] == [(16, 16)] * 4
    assert together[2].tobytes() == alone[0].tobytes() != together[1].tobytes()


def test_frozen_parts_are_neither_saved_nor_trained_nor_cast(decoder: ImageDecoder) -> None:
    assert all(name.split(".")[0] in ("norm", "linear", "residual") for name in decoder.state_dict())
    assert all(p.requires_grad for p in decoder.parameters())
    decoder.to(torch.bfloat16)
    states = torch.randn(2, STATE, dtype=torch.bfloat16)
    assert decoder.loss(states, features(torch.randn(2, EMBEDDING)), torch.arange(2), None)["gen_mse"].isfinite()
    assert len(decoder.decode(states, None, None, [], [0, 1])) == 2


def test_the_target_owns_the_token_and_travels_as_features(decoder: ImageDecoder) -> None:
    picture = Image.new("RGB", (4, 4))
    assert decoder.target_image(None, picture) is picture
    assert decoder.encode_target(picture) is None


def test_another_encoder_is_refused_by_name(decoder: ImageDecoder, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'tiny'.*gives 768"):
        build(tmp_path, embedding_size=768)


def test_a_tokenizer_with_other_codes_is_refused(decoder: ImageDecoder, tmp_path: Path) -> None:
    ImageTokenizer(TokenizerConfig(16, 4, (8,), 4, 21)).save(tmp_path / "tokenizer.safetensors")
    with pytest.raises(InputError, match="trained together"):
        build(tmp_path)
