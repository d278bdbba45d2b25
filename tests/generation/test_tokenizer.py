"""The image tokenizer: shapes, round trip through codes, files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from neuraltuning.errors import InputError
from neuraltuning.generation.tokenizer import ImageTokenizer, TokenizerConfig, to_images, to_network

SMALL = TokenizerConfig(image_size=16, patch=2, channels=(8, 16), code_size=4, codes=32)


@pytest.fixture
def tokenizer() -> ImageTokenizer:
    torch.manual_seed(0)
    tokenizer = ImageTokenizer(SMALL).eval()
    with torch.no_grad():
        tokenizer.codebook.normal_()
    return tokenizer


def test_codes_stand_for_the_nearest_codebook_vectors(tokenizer: ImageTokenizer) -> None:
    pixels = torch.rand(3, 3, 16, 16) * 2 - 1
    codes = tokenizer.encode(pixels)
    assert codes.shape == (3, SMALL.grid, SMALL.grid) == (3, 4, 4)
    latents = tokenizer.latents(pixels).permute(0, 2, 3, 1)
    distances = (latents.unsqueeze(-2) - tokenizer.codebook).square().sum(-1)
    assert torch.equal(codes, distances.argmin(-1))


def test_decoding_codes_gives_what_the_quantised_latents_draw(tokenizer: ImageTokenizer) -> None:
    pixels = torch.rand(2, 3, 16, 16) * 2 - 1
    quantized, _, codes = tokenizer.quantize(tokenizer.latents(pixels))
    torch.testing.assert_close(tokenizer.decode(codes), tokenizer.draw(quantized))


def test_gradients_pass_straight_through_the_quantisation(tokenizer: ImageTokenizer) -> None:
    pixels = (torch.rand(1, 3, 16, 16) * 2 - 1).requires_grad_()
    tokenizer.draw(tokenizer.quantize(tokenizer.latents(pixels))[0]).sum().backward()
    assert pixels.grad is not None and pixels.grad.abs().sum() > 0


def test_pixels_survive_the_way_to_the_network_and_back() -> None:
    pixels = torch.randint(0, 256, (2, 4, 4, 3), dtype=torch.uint8)
    images = to_images(to_network(pixels))
    assert [torch.frombuffer(bytearray(i.tobytes()), dtype=torch.uint8).view(4, 4, 3).tolist() for i in images] == (
        pixels.tolist()
    )


def test_saved_and_loaded_it_draws_the_same(tokenizer: ImageTokenizer, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.safetensors"
    tokenizer.half().float().save(path, validation={"psnr": 20.0})
    loaded = ImageTokenizer.load(path)
    codes = torch.arange(16).view(1, 4, 4)
    torch.testing.assert_close(loaded.decode(codes), tokenizer.decode(codes))
    assert json.loads(path.with_suffix(".json").read_text())["validation"] == {"psnr": 20.0}
    assert not any(p.requires_grad for p in loaded.parameters())


@pytest.mark.parametrize("damage", ["weights", "config", "shape"])
def test_damaged_files_are_named(tokenizer: ImageTokenizer, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "tokenizer.safetensors"
    tokenizer.save(path)
    if damage == "weights":
        path.write_bytes(path.read_bytes()[:100])
    elif damage == "config":
        path.with_suffix(".json").write_text("{")
    else:
        facts = json.loads(path.with_suffix(".json").read_text())
        facts["config"]["codes"] = 33
        path.with_suffix(".json").write_text(json.dumps(facts))
    with pytest.raises(InputError, match="tokenizer"):
        ImageTokenizer.load(path)
