"""Draws where words of a reply look in the image. Knows pictures and weights, nothing of models."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from neuraltuning.analysis.inspection import Look
from neuraltuning.report.overlay import draw_masks, palette_color
from neuraltuning.report.picture_style import STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINE = 96
"""Characters of a line of text."""
COLUMNS = 8
"""Small maps beside each other."""
ENOUGH = 1e-4
"""A map that shows less of the attention than this is left blank."""


def draw_looks(
    image: Image.Image, text: str, reply: str, looks: Sequence[Look], masks: NDArray[np.bool_], path: Path
) -> None:
    """A row for each word: the image with its mask, its attention on patches, and that on names laid on their patches.

    Args:
        image: what the reply is about.
        text, reply: stand above the rows.
        looks: the words, those of `<OBJ>` first.
        masks: (N, height, width) bool of the `<OBJ>`, as far as they are known.
        path: PNG file to be written.
    """
    plt = _pyplot()
    named = any(look.described.any() for look in looks)
    n_columns = 3 if named else 2
    lines = [*_wrapped("Request: ", text), *_wrapped("Reply: ", reply)]
    height = 0.25 * len(lines) + 0.3 + 2.9 * len(looks)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            len(looks), n_columns, figsize=(3.1 * n_columns, height), squeeze=False, layout="constrained"
        )
        figure.suptitle("\n".join(lines), x=0.01, ha="left", fontsize=9)
        for place, (row, look) in enumerate(zip(axes, looks, strict=True)):
            row[0].imshow(np.asarray(draw_masks(image, masks[place : place + 1], [palette_color(place)])))
            row[0].set_title(f"{look.word}", fontsize=9, fontweight="bold")
            _overlay(row[1], image, look.map, f"patches: {look.shares['patches'].mean():.1%} of its attention")
            if named:
                on_names = f"{look.shares['names'].mean():.1%} on names, {look.described_map.sum():.1%} on those"
                _overlay(row[2], image, look.described_map, f"{on_names}\nthat describe patches, laid on these")
            elsewhere = ", ".join(f"{look.shares[part].mean():.0%} {part}" for part in ("start", "prompt", "reply"))
            row[0].set_xlabel(f"elsewhere: {elsewhere}", fontsize=8)
            for axis in row:
                axis.set_xticks([])
                axis.set_yticks([])
        _scale(figure, axes)
        _save(figure, path)


def draw_layers(image: Image.Image, look: Look, path: Path) -> None:
    """A small map a layer, averaged over its heads."""
    maps = look.weights.mean(1)
    _draw_grid(
        image, maps, [f"layer {number}" for number in range(len(maps))], f"{look.word} on patches, by layer", path
    )


def draw_heads(image: Image.Image, look: Look, layer: int, path: Path) -> None:
    """A small map a head of one layer."""
    maps = look.weights[layer]
    title = f"{look.word} on patches, heads of layer {layer}"
    _draw_grid(image, maps, [f"head {number}" for number in range(len(maps))], title, path)


def _draw_grid(image: Image.Image, maps: NDArray[np.float32], names: Sequence[str], title: str, path: Path) -> None:
    plt = _pyplot()
    n_columns = min(COLUMNS, len(maps))
    n_rows = -(-len(maps) // n_columns)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            n_rows, n_columns, figsize=(1.45 * n_columns, 1.75 * n_rows + 0.4), squeeze=False, layout="constrained"
        )
        figure.suptitle(f"{title} (in per cent of its attention there)", fontsize=9)
        for axis in axes.flat:
            axis.axis("off")
        for axis, weights, name in zip(axes.flat, maps, names, strict=False):
            _overlay(axis, image, weights, f"{name}: {weights.sum():.1%}", fontsize=7)
        _scale(figure, axes)
        _save(figure, path)


def _overlay(axis: Axes, image: Image.Image, weights: NDArray[np.float32], title: str, fontsize: int = 8) -> None:
    """The image in grey with a map over it, patch by patch, from nothing to the map's own largest weight."""
    axis.imshow(np.asarray(image.convert("L")), cmap="gray", vmin=0, vmax=255)
    share = weights / weights.max() if weights.sum() > ENOUGH else np.zeros_like(weights)
    axis.imshow(
        share,
        extent=(-0.5, image.width - 0.5, image.height - 0.5, -0.5),  # images are stretched to the grid
        cmap="inferno",
        vmin=0,
        vmax=1,
        alpha=0.3 + 0.5 * share,
        interpolation="nearest",
    )
    axis.set_title(title, fontsize=fontsize)


def _scale(figure: Figure, axes: NDArray[Any]) -> None:
    """The colors' meaning, beside the maps."""
    from matplotlib.cm import ScalarMappable

    label = "attention weight of a patch, 1: the largest of its map"
    figure.colorbar(ScalarMappable(cmap="inferno"), ax=axes, label=label, aspect=40, shrink=0.8, pad=0.01)


def _wrapped(label: str, text: str) -> list[str]:
    return textwrap.wrap(label + text, LINE, subsequent_indent="  ")[:4]


def _pyplot() -> Any:
    """matplotlib's drawing without a screen."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def _save(figure: Figure, path: Path) -> None:
    import matplotlib.pyplot as plt

    figure.savefig(path, dpi=110, transparent=True, bbox_inches="tight")
    plt.close(figure)
