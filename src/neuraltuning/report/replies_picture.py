"""One picture of a run's replies, a column a task, for a README or a slide.

    python -m neuraltuning.report.replies_picture runs/quickstart docs/images/replies.png

Of each task of the test split it takes the first success of the showcase; the report has the failures too.
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from neuraltuning.errors import InputError, NeuralTuningError
from neuraltuning.report.overlay import draw_masks
from neuraltuning.report.run_files import Mask, ShowcaseItem, read_run

SPLIT = "test"
LINE = 34
"""Characters of a line of text under a picture."""


def draw_replies(run: Path, path: Path) -> None:
    """Draws the picture.

    Args:
        run: folder of an evaluated run.
        path: PNG file to be written.

    Raises:
        InputError: the run has no showcase of the test split.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    tasks = read_run(run).showcase.get(SPLIT, {})
    chosen = {task: next((i for i in items if i.success), items[0]) for task, items in tasks.items() if items}
    if not chosen:
        raise InputError(f"{run} has no replies of the split {SPLIT} to show; run `neuraltuning evaluate {run}` first.")
    figure, axes = plt.subplots(1, len(chosen), figsize=(3.1 * len(chosen), 4.3), squeeze=False)
    for axis, (task, item) in zip(axes[0], chosen.items(), strict=True):
        axis.imshow(np.asarray(_picture(item)))
        axis.set_title(task.replace("_", " "), fontsize=11, fontweight="bold")
        asked = "\n".join(textwrap.wrap(item.prompt, LINE)[:4])
        replied = "\n".join(textwrap.wrap(item.reply, LINE)[:5])
        axis.text(0, -0.04, asked, transform=axis.transAxes, va="top", fontsize=9, color="#555555")
        below = -0.07 - 0.055 * (asked.count("\n") + 1)
        axis.text(0, below, replied, transform=axis.transAxes, va="top", fontsize=9, fontweight="bold")
        axis.axis("off")
    figure.subplots_adjust(left=0.01, right=0.99, top=0.93, bottom=0.3, wspace=0.06)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _picture(item: ShowcaseItem) -> Image.Image:
    if item.generated:
        return Image.open(item.generated[0]).convert("RGB").resize((224, 224), Image.Resampling.LANCZOS)
    assert item.image is not None
    image = Image.open(item.image).convert("RGB")
    return draw_masks(image, np.stack([_pixels(mask) for mask in item.masks])) if item.masks else image


def _pixels(mask: Mask) -> NDArray[np.bool_]:
    from pycocotools import mask as coco

    return coco.decode({"size": mask.rle["size"], "counts": str(mask.rle["counts"]).encode()}).astype(bool)


def main() -> None:
    """The command line: a run's folder and a PNG file."""
    if len(sys.argv) != 3:
        sys.exit("Give the folder of an evaluated run, and the PNG file to write.")
    try:
        draw_replies(Path(sys.argv[1]), Path(sys.argv[2]))
    except NeuralTuningError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
