"""Draws from the state of `<GEN>`: a trainable map to the image embedding, then the frozen prior and tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from neuraltuning.decoders.base import Decoder, StateShape
from neuraltuning.encoders.base import ImageEncoder, ImageFeatures
from neuraltuning.errors import InputError
from neuraltuning.generation import prior as prior_part
from neuraltuning.generation import tokenizer as tokenizer_part

_BATCH = 32
SMALLEST_VARIANCE = 1e-6
"""For a start from texts that are all the same."""
RIDGE = 0.2
"""Of the closed-form start, in units of the mean variance of the states' entries."""


class ImageDecoder(Decoder):
    """Aligns `<GEN>` to the image embedding of the frozen encoder and draws from it (SPEC 3, journal paper, 3.3).

    The map goes to the embedding's principal components, which the prior is conditioned on. Its parameters are the
    only ones: prior and tokenizer are pretrained, stay in float32 and are in no `state_dict`.
    """

    token: ClassVar[str] = "<GEN>"
    about_input: ClassVar[bool] = False
    learns_embedding: ClassVar[bool] = True

    def __init__(
        self,
        *,
        state: StateShape,
        encoder: ImageEncoder,
        hidden_size: int = 512,
        weight: float = 10.0,
        candidates: int = 1,
        prior: str | Path = prior_part.WEIGHTS,
        tokenizer: str | Path = tokenizer_part.WEIGHTS,
    ) -> None:
        """Loads the pretrained parts, by default the shipped ones.

        Args:
            state: of a task token.
            encoder: the model's, whose embeddings are the targets.
            hidden_size: of the map's hidden layer.
            weight: lambda_gen, factor of the loss.
            candidates: pictures that are drawn for each one that is returned: the one whose embedding is nearest to
                the predicted one (Ramesh et al., 2021, section 2.6, rank by CLIP).
            prior, tokenizer: weights files.

        Raises:
            InputError: a file is missing or damaged, or the prior was trained for another encoder's embeddings.
        """
        super().__init__()
        self.weight, self.candidates = weight, candidates
        if candidates < 1:
            raise InputError(f"The image decoder draws at least 1 candidate a picture, not {candidates}.")
        # In a tuple the frozen parts aren't submodules: not saved with the map, not cast with the model.
        self._parts = (prior_part.ImagePrior.load(Path(prior)), tokenizer_part.ImageTokenizer.load(Path(tokenizer)))
        self._encoder = (encoder,)
        config, codes = self._parts[0].config, self._parts[1].config
        if config.embedding_size != encoder.embedding_size:
            raise InputError(
                f"The image prior {prior} draws from embeddings of {config.embedding_size} numbers by the encoder "
                f"{config.encoder!r}, and this model's encoder {encoder.name!r} gives {encoder.embedding_size}: choose "
                "that one, pretrain a prior for yours (docs/image-generation.md), or leave text_to_image out."
            )
        if (config.codes, config.grid) != (codes.codes, codes.grid):
            raise InputError(
                f"The image prior {prior} writes {config.grid}x{config.grid} of {config.codes} codes and the tokenizer "
                f"{tokenizer} reads {codes.grid}x{codes.grid} of {codes.codes}: name two that were trained together."
            )
        self.state = state
        self.linear = nn.Linear(state.size, config.components)
        last = nn.Linear(hidden_size, config.components)
        self.residual = nn.Sequential(nn.Linear(state.size, hidden_size), nn.GELU(), last)
        for layer in (self.linear, last):  # start at the mean embedding
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    @property
    def written_for(self) -> str:
        """The components that the prior reads: another prior is as good, if it reads the same."""
        return f"image prior's components {self._parts[0].fingerprint()}"

    def target_image(self, image: Image.Image | None, target: Any) -> Image.Image | None:
        """The picture to be drawn, whose embedding is learnt."""
        return target

    def encode_target(self, target: Any) -> NDArray[np.generic] | None:
        """None: the owner's embedding is the target."""
        return None

    def loss(
        self, states: Tensor, features: ImageFeatures, owners: Tensor, targets: Tensor | None
    ) -> dict[str, Tensor]:
        """`gen_mse`: weighted mean-squared error to the owners' embeddings, within the prior's components.

        What lies outside of the components is left out: it is a constant that nothing can learn.
        """
        prior = self._prior(states.device)
        error = (self.components(states) - _wanted(features, owners, prior)) * prior.component_std
        return {"gen_mse": self.weight * error.square().sum(1).mean() / prior.config.embedding_size}

    def decode(
        self,
        states: Tensor,
        features: ImageFeatures | None,
        owners: Tensor | None,
        sizes: Sequence[tuple[int, int]],
        seeds: Sequence[int],
        replies: Tensor | None = None,
        known: int = 0,
    ) -> list[Image.Image]:
        """Square RGB pictures of the tokenizer's size, whatever the `sizes`; each for itself."""
        states, seeds = states[known:], seeds[known:]
        prior, tokenizer = self._prior(states.device), self._parts[1].to(states.device)
        images: list[Image.Image] = []
        with torch.no_grad():
            for start in range(0, len(states), _BATCH):
                components = self.components(states[start : start + _BATCH])
                drawings = [_seeds(seeds, start, number) for number in range(self.candidates)]
                sampled = prior.sample(components.repeat(self.candidates, 1), [s for each in drawings for s in each])
                codes = sampled.split(len(components))
                # each by itself: kernels round batches of other sizes in another way, and it takes no longer
                drawn = [
                    [tokenizer_part.to_images(tokenizer.decode(one))[0] for one in together.split(1)]
                    for together in codes
                ]
                images += drawn[0] if self.candidates == 1 else self._nearest(drawn, components, prior)
        return images

    def _nearest(
        self, drawn: Sequence[Sequence[Image.Image]], components: Tensor, prior: prior_part.ImagePrior
    ) -> list[Image.Image]:
        """Of each picture's candidates the one whose embedding is nearest to the predicted one, by cosine."""
        encoder = self._encoder[0]
        wanted = F.normalize(components * prior.component_std, dim=-1)
        nearness = []
        for images in drawn:
            embedding = encoder.embed(encoder.preprocess(images).to(components.device)).float()
            nearness.append((F.normalize(prior.components(embedding) * prior.component_std, dim=-1) * wanted).sum(-1))
        return [drawn[best][place] for place, best in enumerate(torch.stack(nearness).argmax(0).tolist())]

    @torch.no_grad()
    def fit(self, states: Tensor, features: ImageFeatures, owners: Tensor, targets: Tensor | None) -> None:
        """Sets the linear map by ridge regression from states to the owners' embeddings."""
        prior = self._prior(states.device)
        x, y = self._inputs(states), _wanted(features, owners, prior)
        mean_x, mean_y = x.mean(0), y.mean(0)
        x = x - mean_x
        covariance = x.T @ x
        variance = x.var(0, correction=int(len(x) > 1)).mean()
        covariance.diagonal().add_(RIDGE * len(x) * variance.clamp_min(SMALLEST_VARIANCE))
        weight = torch.linalg.solve(covariance, x.T @ (y - mean_y))
        self.linear.weight.copy_(weight.T)
        self.linear.bias.copy_(mean_y - mean_x @ weight)

    def components(self, states: Tensor) -> Tensor:
        """(N, state.size) -> (N, components) float32, whitened principal components of the predicted embeddings."""
        inputs = self._inputs(states).to(self.linear.weight.dtype)
        return (self.linear(inputs) + self.residual(inputs)).float()

    def _inputs(self, states: Tensor) -> Tensor:
        """The states with their words, which have unit length, brought to the size of the free entries."""
        free = self.state.free
        return torch.cat([states[:, :-free] * self.state.hidden_size**0.5, states[:, -free:]], dim=-1)

    def _prior(self, device: torch.device) -> prior_part.ImagePrior:
        return self._parts[0].to(device)


def _wanted(features: ImageFeatures, owners: Tensor, prior: prior_part.ImagePrior) -> Tensor:
    """(N, components) those of the owners' embeddings."""
    if features.embedding is None:
        raise ValueError("<GEN> is aligned to image embeddings, but the encoder was not asked for them.")
    return prior.components(features.embedding[owners].float())


def _seeds(seeds: Sequence[int], start: int, candidate: int) -> list[int]:
    """Those of one candidate of each picture of a batch; the first one's are the given ones."""
    return [seed + candidate * 1_000_003 for seed in seeds[start : start + _BATCH]]
