"""The image decoder: its loss, closed-form start, drawing, and what of it is saved."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from neuraltuning.decoders.base import StateShape
from neuraltuning.decoders.image import ImageDecoder
from neuraltuning.encoders.base import ImageEncoder, ImageFeatures
from neuraltuning.errors import InputError
from neuraltuning.generation.prior import ImagePrior, PriorConfig
from neuraltuning.generation.tokenizer import ImageTokenizer, TokenizerConfig

SHAPE = StateShape(words=1, hidden_size=8, free=16)
STATE, EMBEDDING = SHAPE.size, 12


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
    """Declares an embedding size; a decoder of one candidate needs no more of it."""

    name = "mine"

    def __init__(self, embedding_size: int) -> None:
        super().__init__()
        self.embedding_size = embedding_size

    def preprocess(self, images: Sequence[Image.Image]) -> torch.Tensor:
        raise NotImplementedError

    def forward(self, pixel_values: torch.Tensor, *, embedding: bool = False) -> ImageFeatures:
        raise NotImplementedError


class SeeingEncoder(TinyEncoder):
    """Embeds pictures by a fixed random projection of their pixels, and keeps what it was shown."""

    def __init__(self, embedding_size: int = EMBEDDING) -> None:
        super().__init__(embedding_size)
        self.shown: list[Image.Image] = []
        self.projection = torch.randn(3 * 16 * 16, embedding_size, generator=torch.Generator().manual_seed(3))

    def preprocess(self, images: Sequence[Image.Image]) -> torch.Tensor:
        self.shown += images
        return torch.from_numpy(np.stack([np.asarray(image) for image in images])).float() / 255.0

    def forward(self, pixel_values: torch.Tensor, *, embedding: bool = False) -> ImageFeatures:
        return features((pixel_values.flatten(1) - 0.5) @ self.projection)


def build(folder: Path, encoder: ImageEncoder | None = None, **settings: Any) -> ImageDecoder:
    return ImageDecoder(
        state=SHAPE,
        encoder=encoder or TinyEncoder(EMBEDDING),
        hidden_size=16,
        **settings,
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


def test_the_closed_form_start_recovers_a_linear_map(decoder: ImageDecoder) -> None:
    """Up to the ridge, which shortens it by a sixth where the states' entries are alike."""
    generator = torch.Generator().manual_seed(5)
    words, free, true = (torch.randn(size, generator=generator) for size in ((4000, 8), (4000, 16), (24, 6)))
    states = torch.cat([words / 8**0.5, free], 1)  # words have unit length
    wanted = torch.cat([words, free], 1) @ true / 5 + 3.0
    owners = torch.randperm(4000, generator=generator)
    before = decoder.loss(states, features(scene_embeddings(decoder, wanted)[owners.argsort()]), owners, None)
    decoder.fit(states[:3000], features(scene_embeddings(decoder, wanted)[owners.argsort()]), owners[:3000], None)
    predicted = decoder.components(states[3000:])
    shortened = 3.0 + (wanted[3000:] - 3.0) / 1.2
    torch.testing.assert_close(predicted, shortened, atol=0.15, rtol=0)
    after = decoder.loss(states, features(scene_embeddings(decoder, wanted)[owners.argsort()]), owners, None)
    assert after["gen_mse"] < 0.05 * before["gen_mse"]


@pytest.mark.parametrize("count", [1, 3])
def test_a_start_from_texts_that_are_all_the_same_is_the_mean_embedding(decoder: ImageDecoder, count: int) -> None:
    wanted = torch.randn(count, 6, generator=torch.Generator().manual_seed(7))
    states = torch.full((count, 24), 0.3)
    decoder.fit(states, features(scene_embeddings(decoder, wanted)), torch.arange(count), None)
    torch.testing.assert_close(decoder.components(states[:1]), wanted.mean(0, keepdim=True), atol=1e-3, rtol=0)


def test_a_start_from_words_alone_leaves_the_free_entries_out(decoder: ImageDecoder) -> None:
    words = torch.nn.functional.normalize(torch.randn(50, 8), dim=1)
    states = torch.cat([words, torch.zeros(50, 16)], 1)
    decoder.fit(states, features(scene_embeddings(decoder, words[:, :6])), torch.arange(50), None)
    other = torch.cat([words, torch.randn(50, 16)], 1)
    torch.testing.assert_close(decoder.components(other), decoder.components(states))
    assert decoder.components(states).std(0).min() > 0.1


def test_of_several_candidates_the_nearest_to_the_predicted_embedding_is_kept(
    decoder: ImageDecoder, tmp_path: Path
) -> None:
    encoder = SeeingEncoder()
    chooser = build(tmp_path, encoder, candidates=2)
    with torch.no_grad():
        decoder.linear.weight.normal_()
    chooser.load_state_dict(decoder.state_dict())
    states, seeds = 3 * torch.randn(8, STATE), list(range(8))
    drawn = chooser.decode(states, None, None, [], seeds)
    candidates = [encoder.shown[:8], encoder.shown[8:]]
    assert [i.tobytes() for i in candidates[0]] == [i.tobytes() for i in decoder.decode(states, None, None, [], seeds)]
    prior = decoder._parts[0]
    predicted = scene_embeddings(decoder, decoder.components(states)) - prior.component_mean
    in_components = prior.component_basis @ prior.component_basis.T
    chosen = []
    for place, picture in enumerate(drawn):
        pair = [one[place] for one in candidates]
        found = (encoder.embed(encoder.preprocess(pair)) - prior.component_mean) @ in_components
        best = int(torch.cosine_similarity(found, predicted[place : place + 1]).argmax())
        assert picture.tobytes() == pair[best].tobytes() != pair[1 - best].tobytes()
        chosen.append(best)
    assert set(chosen) == {0, 1}
    for place in range(8):
        [alone] = chooser.decode(states[place : place + 1], None, None, [], [place])
        assert difference(alone, drawn[place]) <= 1


def test_no_candidates_are_refused(decoder: ImageDecoder, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"at least 1 candidate.*0\.$"):
        build(tmp_path, candidates=0)


def test_it_draws_one_picture_a_token_the_same_in_any_batch(decoder: ImageDecoder) -> None:
    states = 3 * torch.randn(4, STATE)
    with torch.no_grad():
        decoder.linear.weight.normal_()
    together = decoder.decode(states, None, None, [], [1, 2, 3, 4])
    alone = decoder.decode(states[2:3], None, None, [], [3])
    assert [image.size for image in together] == [(16, 16)] * 4
    assert difference(together[2], alone[0]) <= 1 < difference(together[1], alone[0])


def difference(one: Image.Image, other: Image.Image) -> int:
    """Of the levels of two pictures, at most; rounding may tip a pixel by one."""
    return int(np.abs(np.asarray(one, dtype=int) - np.asarray(other, dtype=int)).max())


def test_frozen_parts_are_neither_saved_nor_trained_nor_cast(decoder: ImageDecoder) -> None:
    assert all(name.split(".")[0] in ("linear", "residual") for name in decoder.state_dict())
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
        build(tmp_path, TinyEncoder(768))


def test_a_tokenizer_with_other_codes_is_refused(decoder: ImageDecoder, tmp_path: Path) -> None:
    ImageTokenizer(TokenizerConfig(16, 4, (8,), 4, 21)).save(tmp_path / "tokenizer.safetensors")
    with pytest.raises(InputError, match="trained together"):
        build(tmp_path)
