"""A data set of scenes on disk, as `neuraltuning data convert` writes one."""

from __future__ import annotations

import io
from pathlib import Path

from neuraltuning.data.scenes import SceneDataset
from neuraltuning.data.store import SplitWriter


def write_data(folder: Path, **sizes: int) -> Path:
    """Writes splits with so many scenes each and returns the folder."""
    for split, size in sizes.items():
        (folder / split).mkdir(parents=True)
        with SplitWriter(folder / split) as writer:
            for sample in SceneDataset(split, size, seed=0):
                buffer = io.BytesIO()
                sample.image.save(buffer, "PNG")
                writer.add(sample, buffer.getvalue())
    return folder
