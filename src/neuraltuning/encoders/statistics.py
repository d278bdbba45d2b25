"""Fixed statistics of EfficientNet-Lite0's features on Scenes' training images, by which they are standardised.

    python -m neuraltuning.encoders.statistics --images 2000 --seed 0

writes `weights/efficientnet_lite0_statistics.safetensors` beside this file. Everything trained on the features
(shipped image prior, saved heads) depends on them: after a change all of it is to be trained anew.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from itertools import islice

import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from neuraltuning.encoders.base import ImageEncoder
from neuraltuning.encoders.efficientnet import STATISTICS_FILE, EfficientNetLite0, find_weights
from neuraltuning.files import atomic_path

_BATCH = 8


def feature_statistics(encoder: ImageEncoder, images: Iterable[Image.Image]) -> dict[str, Tensor]:
    """Means and deviations of the token channels and of the embedding over `images`.

    Returns:
        token_mean, token_std (C,) over all positions, embedding_mean, embedding_std (E,), float32.
    """
    sums = {name: torch.zeros(2, size).double() for name, size in _sizes(encoder).items()}
    counts = dict.fromkeys(sums, 0)
    source = iter(images)
    while batch := list(islice(source, _BATCH)):
        features = encoder(encoder.preprocess(batch), embedding=True)
        assert features.embedding is not None
        for name, values in (("token", features.tokens.flatten(0, 1)), ("embedding", features.embedding)):
            sums[name] += torch.stack([values.double().sum(0), values.double().square().sum(0)])
            counts[name] += len(values)
    statistics: dict[str, Tensor] = {}
    for name, (first, second) in sums.items():
        mean = first / counts[name]
        statistics[f"{name}_mean"] = mean.float()
        statistics[f"{name}_std"] = (second / counts[name] - mean.square()).clamp_min(0).sqrt().float()
    return statistics


def _sizes(encoder: ImageEncoder) -> dict[str, int]:
    return {"token": encoder.token_size, "embedding": encoder.embedding_size}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000, help="number of training images")
    parser.add_argument("--seed", type=int, default=0, help="seed of the training images")
    arguments = parser.parse_args()

    from neuraltuning.data.scenes import SceneDataset

    dataset = SceneDataset("train", arguments.images, arguments.seed)
    images: Iterator[Image.Image] = (dataset[i].image for i in range(arguments.images))
    statistics = feature_statistics(EfficientNetLite0(find_weights(), statistics=None), images)
    with atomic_path(STATISTICS_FILE) as path:
        save_file(statistics, path, metadata={"images": str(arguments.images), "seed": str(arguments.seed)})
    print(f"{STATISTICS_FILE}: {arguments.images} images")


if __name__ == "__main__":
    main()
