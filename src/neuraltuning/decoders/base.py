"""What turns a task token's states into something. Knows nothing of prompts, tasks or language models."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from neuraltuning.encoders.base import ImageFeatures

LearnOutlines = Callable[[ImageFeatures, Sequence[Sequence[NDArray[np.bool_]]]], None]
"""Takes the features of some images and the (H, W) masks of all objects of each."""


@dataclass(frozen=True)
class StateShape:
    """What a task token's state is made of: `words` vectors of `hidden_size` (see `Bridge`), then `free` entries."""

    words: int
    hidden_size: int
    free: int

    @property
    def size(self) -> int:
        """Entries in all."""
        return self.words * self.hidden_size + self.free


class Decoder(nn.Module, ABC):
    """Decodes the states of one kind of task token.

    A token's state is what the model's bridge reads from the LLM for it: (state.size,) float. It opens with words in
    the LLM's input space (see `Bridge`), comparable with `ImageFeatures.words`.
    Each token belongs to one image of the batch, its *owner*: the input image for a mask, the target image for a
    picture to be drawn (in training; at inference a drawn picture has none).

    Attributes:
        token: the task token: "<OBJ>".
        about_input: whether its tokens stand for parts of the input image.
        learns_embedding: whether `loss` and `fit` need the images' embeddings.
    """

    token: ClassVar[str]
    about_input: ClassVar[bool] = True
    learns_embedding: ClassVar[bool] = False

    @property
    def written_for(self) -> str | None:
        """Names what the trained parameters are written for, where that is in no `state_dict`; by default nothing.

        A saved model is loaded beside the same alone.
        """
        return None

    @abstractmethod
    def target_image(self, image: Image.Image | None, target: Any) -> Image.Image | None:
        """The image that owns a token with this `target` in an example whose input image is `image`."""

    @abstractmethod
    def encode_target(self, target: Any) -> NDArray[np.generic] | None:
        """What of the target travels in a batch beside its owner's features: an array of one shape for all, or None."""

    @abstractmethod
    def loss(
        self, states: Tensor, features: ImageFeatures, owners: Tensor, targets: Tensor | None
    ) -> dict[str, Tensor]:
        """Named scalar losses of N tokens, already weighted against each other.

        Args:
            states: (N, state.size) float.
            features: of the B images of the batch.
            owners: (N,) int64, each token's image in `features`.
            targets: (N, ...) the stacked `encode_target` arrays, or None where that gives None.
        """

    def outline_fit(self, n_images: int) -> LearnOutlines | None:
        """What is shown up to `n_images` images before any text, for a start from their objects; by default none."""
        return None

    def fit(self, states: Tensor, features: ImageFeatures, owners: Tensor, targets: Tensor | None) -> None:
        """A start before training, from the arguments of `loss` for a few hundred images; by default none."""

    @abstractmethod
    def decode(
        self,
        states: Tensor,
        features: ImageFeatures | None,
        owners: Tensor | None,
        sizes: Sequence[tuple[int, int]],
        seeds: Sequence[int],
        replies: Tensor | None = None,
        known: int = 0,
    ) -> list[Any]:
        """What N tokens stand for, without those that are `known`.

        Args:
            states: (N, state.size) float.
            features: of the B input images; None where the tokens belong to no image.
            owners: (N,) int64, each token's image in `features`; None likewise.
            sizes: (height, width) in pixels of each token's input image; empty where tokens have none.
            seeds: one a token, for decoders that sample.
            replies: (N,) int64, each token's reply, whose tokens stand in its order; None: each has one of its own. The
                result of a token depends on the earlier ones of its reply and on nothing else in the batch.
            known: so many of the first tokens were decoded before; they are here for the others' sake.
        """
