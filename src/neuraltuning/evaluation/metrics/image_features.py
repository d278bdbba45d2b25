"""What generated pictures are compared in: the features of a named frozen network.

FID, KID and the share among 16 mean something only together with the network whose features they use, so a
`FeatureExtractor` carries the name that goes into the scores' names. Knows nothing of examples or scores.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from neuraltuning.encoders.base import ImageEncoder

BATCH_SIZE = 32
EMBEDDED_ENCODER = "efficientnet-lite0"


@dataclass(frozen=True, eq=False)
class FeatureExtractor:
    """A named network that turns pictures into feature vectors.

    Attributes:
        name: short and without blanks; it becomes part of the scores' names: "efficientnet-lite0".
        extract: N pictures -> (N, E) features, and (N, C) classifier logits, or None where there is no classifier.
    """

    name: str
    extract: Callable[[Sequence[Image.Image]], tuple[NDArray[Any], NDArray[Any] | None]]

    def __call__(self, images: Sequence[Image.Image]) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        """N > 0 pictures -> (N, E) features and (N, C) logits or None, in batches of 32."""
        batches = [self.extract(images[i : i + BATCH_SIZE]) for i in range(0, len(images), BATCH_SIZE)]
        features = np.concatenate([np.asarray(batch[0], dtype=np.float64) for batch in batches])
        logits = [np.asarray(batch[1], dtype=np.float64) for batch in batches if batch[1] is not None]
        return features, np.concatenate(logits) if logits else None


def encoder_features(encoder: ImageEncoder) -> FeatureExtractor:
    """The global embedding of a frozen image encoder (`ImageFeatures.embedding`), under the encoder's name."""
    return FeatureExtractor(PurePath(encoder.name).name, functools.partial(_embed, encoder))


def named_features(name: str = EMBEDDED_ENCODER) -> FeatureExtractor:
    """`encoder_features` of the encoder that `load_encoder(name)` gives; it is loaded at the first picture."""
    return FeatureExtractor(PurePath(name).name, functools.partial(_embed_by_name, name))


def _embed(encoder: ImageEncoder, images: Sequence[Image.Image]) -> tuple[NDArray[Any], None]:
    import torch

    parameter = next(encoder.parameters())
    pixels = encoder.preprocess(images).to(device=parameter.device, dtype=parameter.dtype)
    with torch.no_grad():
        return encoder.embed(pixels).float().cpu().numpy(), None


def _embed_by_name(name: str, images: Sequence[Image.Image]) -> tuple[NDArray[Any], None]:
    return _embed(_load(name), images)


@functools.lru_cache(maxsize=1)
def _load(name: str) -> ImageEncoder:
    from neuraltuning.encoders import load_encoder

    return load_encoder(name)
