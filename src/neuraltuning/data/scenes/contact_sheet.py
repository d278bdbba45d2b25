"""Draws samples of Scenes with their masks and a caption, for the documentation and for looking at the data.

python -m neuraltuning.data.scenes.contact_sheet docs/images/scenes.png --seed 20
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterable

import numpy as np
from PIL import Image, ImageDraw

from neuraltuning.data.sample import Sample
from neuraltuning.data.scenes.dataset import SPLIT_SIZES, SceneDataset
from neuraltuning.files import atomic_path

_MASK_COLORS = np.array(
    [(230, 57, 70), (29, 120, 200), (42, 157, 78), (244, 162, 29), (131, 56, 196), (0, 180, 180)], dtype=np.float32
)
_GAP = 8
_TEXT_HEIGHT = 80
_CHARACTERS_A_LINE = 37


def contact_sheet(samples: Iterable[Sample], columns: int = 4) -> Image.Image:
    """Returns a picture of the samples: the image, below it the colored masks, below them a phrase for each object."""
    cells = [_cell(sample) for sample in samples]
    width, height = cells[0].size
    rows = -(-len(cells) // columns)
    sheet = Image.new("RGB", (columns * (width + _GAP) + _GAP, rows * (height + _GAP) + _GAP), "white")
    for number, cell in enumerate(cells):
        sheet.paste(cell, (_GAP + number % columns * (width + _GAP), _GAP + number // columns * (height + _GAP)))
    return sheet


def _cell(sample: Sample) -> Image.Image:
    pixels = np.asarray(sample.image, dtype=np.float32)
    height, width = pixels.shape[:2]
    overlay = pixels * 0.35 + 160
    for item, color in zip(sample.objects, _MASK_COLORS, strict=False):
        overlay[item.mask] = pixels[item.mask] * 0.35 + color * 0.65
    cell = Image.new("RGB", (width, 2 * height + _TEXT_HEIGHT), "white")
    cell.paste(sample.image, (0, 0))
    cell.paste(Image.fromarray(overlay.clip(0, 255).astype(np.uint8)), (0, height))
    draw = ImageDraw.Draw(cell)
    lines = [
        (line, color)
        for item, color in zip(sample.objects, _MASK_COLORS, strict=False)
        for line in textwrap.wrap(item.phrases[-1].text, _CHARACTERS_A_LINE)
    ]
    for number, (line, color) in enumerate(lines[: _TEXT_HEIGHT // 11]):
        draw.text((2, 2 * height + 2 + number * 11), line, fill=tuple(int(value * 0.8) for value in color))
    return cell


def main() -> None:
    """Writes a contact sheet of the first samples of a split."""
    parser = argparse.ArgumentParser(description="Draw samples of Scenes with their masks.")
    parser.add_argument("output", help="PNG file to write")
    parser.add_argument("--split", choices=tuple(SPLIT_SIZES), default="validation")
    parser.add_argument("--count", type=int, default=8, help="number of samples")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    sheet = contact_sheet(SceneDataset(arguments.split, arguments.count, arguments.seed))
    with atomic_path(arguments.output) as path:
        sheet.save(path, format="PNG", optimize=True)


if __name__ == "__main__":
    main()
