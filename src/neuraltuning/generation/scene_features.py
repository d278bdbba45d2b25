"""Small pictures of scenes and their image embeddings, computed once and kept in files: what both pretrainings read.

Knows nothing of tokenizers and priors. The files hold shards of `SHARD` scenes, so an interrupted run goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from neuraltuning.data.scenes import SceneDataset
from neuraltuning.encoders.base import ImageEncoder
from neuraltuning.files import atomic_path
from neuraltuning.generation.progress import Progress

SHARD = 250
_BATCH = 10


def to_pixels(images: list[Image.Image], size: int) -> Tensor:
    """Images -> (B, size, size, 3) uint8, area-averaged."""
    arrays = [np.asarray(i.convert("RGB").resize((size, size), Image.Resampling.BOX)) for i in images]
    return torch.from_numpy(np.stack(arrays))


def scene_features(
    encoder: ImageEncoder, *, split: str, count: int, seed: int, size: int, folder: Path
) -> tuple[Tensor, Tensor]:
    """Pictures and embeddings of the first `count` scenes of a split, from `folder` or computed and kept there.

    Args:
        encoder: gives the embeddings, from the scenes at full size.
        count: a multiple of `SHARD`.
        size: side of the pictures in pixels.

    Returns:
        pixels (count, size, size, 3) uint8 and embeddings (count, E) float16.
    """
    shards = list(_shards(encoder, split, count, seed, size, folder))
    return torch.cat([s["pixels"] for s in shards]), torch.cat([s["embeddings"] for s in shards])


def _shards(
    encoder: ImageEncoder, split: str, count: int, seed: int, size: int, folder: Path
) -> Iterator[dict[str, Tensor]]:
    if count % SHARD:
        raise ValueError(f"The number of scenes must be a multiple of {SHARD}, not {count}.")
    dataset = SceneDataset(split, count, seed)
    device = next(encoder.parameters()).device
    progress = Progress(f"{split} scenes", count // SHARD)
    for number in range(count // SHARD):
        path = folder / Path(encoder.name).name / f"{split}-{seed}-{size}px-{number:04d}.safetensors"
        if not path.exists():
            pixels, embeddings = [], []
            for start in range(number * SHARD, (number + 1) * SHARD, _BATCH):
                images = [dataset[i].image for i in range(start, start + _BATCH)]
                pixels.append(to_pixels(images, size))
                embeddings.append(encoder.embed(encoder.preprocess(images).to(device)).half().cpu())
            with atomic_path(path) as temporary:
                save_file({"pixels": torch.cat(pixels), "embeddings": torch.cat(embeddings)}, temporary)
            progress.show(number + 1)
        yield load_file(path)
