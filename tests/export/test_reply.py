"""The example of docs/export.md answers from an exported folder, without torch, as the model does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from neuraltuning.data.images import open_image
from neuraltuning.generate import generate
from neuraltuning.model import MAX_NEW_TOKENS, MultitaskModel
from tests.tiny_models import sample

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "onnx_reply.py"
WITHOUT = ("torch", "transformers", "neuraltuning", "onnx", "scipy")
"""What the example must do without."""
RUN = f"""import runpy, sys
sys.modules.update(dict.fromkeys({WITHOUT}))  # importing one fails
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")"""


def answer(exported: Path, out: Path, text: str, picture: Path | None) -> tuple[str, list[np.ndarray], list[float]]:
    """The example's reply, masks and scores, from a process of its own."""
    image = [] if picture is None else ["--image", str(picture)]
    arguments = [str(EXAMPLE), str(exported), *image, "--text", text, "--out", str(out)]
    run = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", RUN, *arguments], capture_output=True, encoding="utf-8", check=False
    )
    assert run.returncode == 0, run.stderr
    said, *lines = run.stdout.splitlines()
    masks = [np.asarray(Image.open(out / f"mask-{number}.png")) for number in range(1, len(lines) + 1)]
    return said, masks, [float(line.rsplit(" ", 1)[1]) for line in lines]


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "Please segment the red square."), (1, "Mark the <OBJ> blue\n square  in the image."), (2, "What is this?")],
)
def test_text_and_masks_are_those_of_the_model(
    model: MultitaskModel, exported: Path, tmp_path: Path, number: int, text: str
) -> None:
    picture = sample(number, (40 + 3 * number, 48)).image
    picture.save(tmp_path / "picture.png")
    reply = model.reply(picture, text)
    said, masks, scores = answer(exported, tmp_path / "out", text, tmp_path / "picture.png")
    assert said == reply.text
    assert len(masks) == len(reply.masks) > 2
    np.testing.assert_array_equal(np.stack(masks), reply.masks)
    np.testing.assert_allclose(scores, reply.scores, atol=0.006)  # two digits are printed
    assert any(mask.any() and not mask.all() for mask in masks)


def test_a_request_without_a_picture_is_answered_with_text(
    model: MultitaskModel, exported: Path, tmp_path: Path
) -> None:
    text = "What is a square?"
    [ids] = generate(model, [model.format.prompt_ids(text)], None, torch.tensor([-1]), [MAX_NEW_TOKENS]).ids
    said, masks, _ = answer(exported, tmp_path / "out", text, None)
    assert said == model.format.text(ids) != ""
    assert masks == []


def test_a_picture_lies_on_its_side_and_is_partly_transparent(
    model: MultitaskModel, exported: Path, tmp_path: Path
) -> None:
    picture = sample().image.convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    picture.save(tmp_path / "picture.png", exif=exif)
    reply = model.reply(open_image(tmp_path / "picture.png"), "Please segment the red square.")
    said, masks, _ = answer(exported, tmp_path / "out", "Please segment the red square.", tmp_path / "picture.png")
    assert said == reply.text
    np.testing.assert_array_equal(np.stack(masks), reply.masks)
    assert masks[0].shape == (48, 40)
