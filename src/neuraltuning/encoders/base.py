"""What a frozen image encoder gives the rest of the system. Knows nothing of language models, tasks or decoders."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor, nn


@dataclass
class ImageFeatures:
    """Frozen features of B images.

    Attributes:
        tokens: (B, P, C) patch features, row-major over `ImageEncoder.grid`; they go through the projector to the LLM.
        maps: feature maps (B, C_l, h_l, w_l) from fine to coarse, for mask decoders.
        embedding: (B, E) one global vector an image, the space that `<GEN>` is aligned to; None if nobody asked for it.
        words: (B, P, D) what the tokens show, comparable by cosine with input vectors of words relative to the LLM's
            mean; the model adds them, encoders leave them out.
        boxes: (B, P, 4) the box of the object that each token shows, as far as it can tell: row and column of the
            centre, height and width, in patches; the model adds them where it can.
    """

    tokens: Tensor
    maps: tuple[Tensor, ...]
    embedding: Tensor | None = None
    words: Tensor | None = None
    boxes: Tensor | None = None

    def select(self, index: Tensor) -> ImageFeatures:
        """The features of some of the images, index (n,) int64."""
        return ImageFeatures(
            self.tokens[index],
            tuple(m[index] for m in self.maps),
            None if self.embedding is None else self.embedding[index],
            None if self.words is None else self.words[index],
            None if self.boxes is None else self.boxes[index],
        )

    @staticmethod
    def join(parts: Sequence[ImageFeatures]) -> ImageFeatures:
        """The features of several batches of images as one."""
        embeddings = [part.embedding for part in parts if part.embedding is not None]
        words = [part.words for part in parts if part.words is not None]
        boxes = [part.boxes for part in parts if part.boxes is not None]
        return ImageFeatures(
            torch.cat([part.tokens for part in parts]),
            tuple(torch.cat(maps) for maps in zip(*(part.maps for part in parts), strict=True)),
            torch.cat(embeddings) if embeddings else None,
            torch.cat(words) if words else None,
            torch.cat(boxes) if boxes else None,
        )


class ImageEncoder(nn.Module, ABC):
    """A frozen image encoder: parameters without gradients, always in `eval` mode, whatever `train()` is called with.

    Attributes:
        name: the name or path that `load_encoder` made it from; it is written into a saved model's configuration.
        image_size: side in pixels of the square input; images are stretched to it, so that masks stretch back exactly.
        image_mean, image_std: what red, green and blue are normalised with, for values in 0..1.
        token_size: C, channels of a patch token.
        grid: rows and columns of the patch tokens.
        map_shapes: (C_l, h_l, w_l) of each feature map, fine to coarse.
        embedding_size: E.
    """

    name: str
    image_size: int
    image_mean: tuple[float, ...]
    image_std: tuple[float, ...]
    token_size: int
    grid: tuple[int, int]
    map_shapes: tuple[tuple[int, int, int], ...]
    embedding_size: int

    @abstractmethod
    def preprocess(self, images: Sequence[Image.Image]) -> Tensor:
        """Images of any mode and size -> (B, 3, image_size, image_size) float32, normalised for the network."""

    @abstractmethod
    def forward(self, pixel_values: Tensor, *, embedding: bool = False) -> ImageFeatures:
        """(B, 3, S, S) float -> features, without gradients; `embedding` asks for that too, which may cost a pass."""

    def embed(self, pixel_values: Tensor) -> Tensor:
        """(B, 3, S, S) float -> the global vectors alone, (B, E)."""
        found = self(pixel_values, embedding=True).embedding
        assert found is not None
        return found

    def train(self, mode: bool = True) -> ImageEncoder:
        """Stays in evaluation mode: a frozen encoder keeps its norms and dropout still (SPEC 2)."""
        return super().train(False)

    def freeze(self) -> None:
        """Switches gradients off and `eval` on; every subclass calls it at the end of its construction."""
        self.requires_grad_(False)
        self.eval()


def stack_pixels(images: Sequence[Image.Image], size: int, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Stretches images to size x size with bicubic, antialiased resampling and normalises them.

    Returns:
        (B, 3, size, size) float32.
    """
    import numpy as np

    arrays = [np.asarray(i.convert("RGB").resize((size, size), Image.Resampling.BICUBIC)) for i in images]
    pixels = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).float().div_(255.0)
    return pixels.sub_(torch.tensor(mean).view(1, 3, 1, 1)).div_(torch.tensor(std).view(1, 3, 1, 1))
