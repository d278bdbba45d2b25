"""`<OBJ>` -> mask: a light decoder over frozen image features (journal paper, section 3.3; no SAM).

Three convolutional up-scaling stages, each followed by self-attention layers, conditioned on the task token's state.
What depends on the image alone is computed once an image, however many masks are asked of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from neuraltuning.decoders.base import Decoder
from neuraltuning.encoders.base import ImageEncoder, ImageFeatures
from neuraltuning.errors import InputError

STAGES = 3
HEAD_SIZE = 32
SIMILARITIES = (8, 8, 0, 0)
"""Similarity maps on each grid: the coarse ones choose the object, the fine ones only draw its outline."""
MATCH_SCALE = 8.0
"""Brings the cosine similarities of words, which differ by tenths, to the size of other features."""
WINDOW = 14
"""Side of the windows that self-attention is restricted to on finer grids, where it would cost too much."""


class SelfAttentionLayer(nn.Module):
    """Pre-norm self-attention and a perceptron over a grid's cells and one token that carries the state."""

    def __init__(self, channels: int, state_size: int) -> None:
        super().__init__()
        self.n_heads = max(1, channels // HEAD_SIZE)
        self.state = nn.Linear(state_size, channels)
        self.norm_attention = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        self.mlp = nn.Sequential(
            nn.LayerNorm(channels), nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels)
        )

    def forward(self, x: Tensor, states: Tensor) -> Tensor:
        """x (N, h, w, c) and states (N, state_size) -> (N, h, w, c)."""
        n, height, width, channels = x.shape
        side_y, side_x = _window(height), _window(width)
        rows, columns = height // side_y, width // side_x
        x = x.view(n, rows, side_y, columns, side_x, channels).transpose(2, 3)
        cells = x.reshape(n * rows * columns, side_y * side_x, channels)
        state = self.state(states).repeat_interleave(rows * columns, dim=0).unsqueeze(1)
        tokens = self.norm_attention(torch.cat([state, cells], dim=1))
        q, k, v = self.qkv(tokens).unflatten(-1, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q[:, :, 1:], k, v).transpose(1, 2).flatten(2)
        cells = cells + self.out(attended)
        cells = cells + self.mlp(cells)
        x = cells.view(n, rows, columns, side_y, side_x, channels).transpose(2, 3)
        return x.reshape(n, height, width, channels)


class SelfAttention(nn.Module):
    """The self-attention layers that follow one stage."""

    def __init__(self, channels: int, state_size: int, n_layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(SelfAttentionLayer(channels, state_size) for _ in range(n_layers))

    def forward(self, x: Tensor, states: Tensor) -> Tensor:
        """x (N, h, w, c) and states (N, state_size) -> (N, h, w, c)."""
        for layer in self.layers:
            x = layer(x, states)
        return x


def _window(side: int) -> int:
    """The largest divisor of `side` that is at most `WINDOW`."""
    return next(w for w in range(min(side, WINDOW), 0, -1) if side % w == 0)


class Conditioning(nn.Module):
    """Image features modulated by a state (FiLM), with query-key similarity maps between the two added."""

    def __init__(self, channels: int, state_size: int, n_similarities: int) -> None:
        super().__init__()
        self.n_similarities = n_similarities
        self.film = nn.Linear(state_size, 2 * channels)
        if n_similarities:
            self.keys = nn.Linear(channels, n_similarities * HEAD_SIZE)
            self.queries = nn.Linear(state_size, n_similarities * HEAD_SIZE)
            self.similarity = nn.Linear(n_similarities, channels)

    def forward(self, features: Tensor, owners: Tensor, states: Tensor) -> Tensor:
        """features (B, h, w, c) of the images, owners (N,), states (N, state_size) -> (N, h, w, c)."""
        gain, shift = self.film(states)[:, None, None].chunk(2, dim=-1)
        conditioned = features[owners] * (1.0 + gain) + shift
        if self.n_similarities:
            keys = self.keys(features).unflatten(-1, (self.n_similarities, HEAD_SIZE))[owners]
            queries = self.queries(states).unflatten(-1, (self.n_similarities, HEAD_SIZE))
            maps = torch.einsum("nhwsd,nsd->nhws", keys, queries) * HEAD_SIZE**-0.5
            conditioned = conditioned + self.similarity(maps)
        return conditioned


class MaskDecoder(Decoder):
    """Decodes `<OBJ>` states to masks at 8 times the resolution of the image tokens' grid.

    The image tokens and the coarsest feature map make the first grid; each stage doubles it (transposed convolution),
    adds the next finer map, conditions on the state, and lets the cells attend to each other.
    """

    token = "<OBJ>"

    def __init__(
        self,
        *,
        state_size: int,
        encoder: ImageEncoder,
        channels: Sequence[int] = (192, 128, 64, 32),
        attention_layers: Sequence[int] = (3, 3, 3),
        dice_weight: float = 1.0,
        bce_weight: float = 0.0,
    ) -> None:
        """Makes an untrained decoder.

        Args:
            state_size: width of the task token's state.
            encoder: gives the sizes of tokens and maps; it is not kept.
            channels: of the first grid and of the three stages.
            attention_layers: self-attention layers after each stage (the paper: three).
            dice_weight: weight of the DICE loss.
            bce_weight: weight of the binary cross-entropy (u-LLaVA: 2.0 beside 0.5 DICE).

        Raises:
            InputError: `channels` or `attention_layers` has another length, or a width is no multiple of 32.
        """
        super().__init__()
        if len(channels) != STAGES + 1 or len(attention_layers) != STAGES:
            raise InputError(
                f"The mask decoder has {STAGES} stages: give {STAGES + 1} channels and {STAGES} attention_layers, "
                f"got {list(channels)} and {list(attention_layers)}."
            )
        if any(c % HEAD_SIZE for c in channels):
            raise InputError(f"Each of the mask decoder's channels must be a multiple of {HEAD_SIZE}, got {channels}.")
        self.grid = encoder.grid
        self.channels = tuple(channels)
        self.dice_weight, self.bce_weight = dice_weight, bce_weight
        map_channels = [shape[0] for shape in encoder.map_shapes][::-1]  # coarse to fine
        map_channels = (map_channels + [0] * (STAGES + 1))[: STAGES + 1]
        self.tokens = nn.Sequential(nn.LayerNorm(encoder.token_size), nn.Linear(encoder.token_size, channels[0]))
        self.place = nn.Parameter(torch.randn(*self.grid, channels[0]) * 0.02)
        self.matches = nn.ModuleList(nn.Linear(1, c) for c in channels)
        self.laterals = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(m), nn.Linear(m, c)) if m else nn.Identity()
            for m, c in zip(map_channels, channels, strict=True)
        )
        self.has_lateral = [m > 0 for m in map_channels]
        self.conditionings = nn.ModuleList(
            Conditioning(c, state_size, n) for c, n in zip(channels, SIMILARITIES, strict=True)
        )
        self.upscalings = nn.ModuleList(
            nn.ConvTranspose2d(channels[i], channels[i + 1], kernel_size=2, stride=2) for i in range(STAGES)
        )
        self.attentions = nn.ModuleList(
            SelfAttention(c, state_size, n) for c, n in zip(channels[1:], attention_layers, strict=True)
        )
        self.smoothings = nn.ModuleList(nn.Conv2d(c, c, kernel_size=3, padding=1) for c in channels[1:])
        self.norms = nn.ModuleList(nn.LayerNorm(c) for c in channels[1:])
        self.out = nn.Linear(channels[-1], 1)
        nn.init.constant_(self.out.bias, -2.0)  # most of an image is background

    @property
    def target_side(self) -> tuple[int, int]:
        """Rows and columns that masks are compared at in training: twice the logits' own."""
        return self.grid[0] * 2 ** (STAGES + 1), self.grid[1] * 2 ** (STAGES + 1)

    def target_image(self, image: Image.Image | None, target: NDArray[np.bool_]) -> Image.Image | None:
        return image

    def encode_target(self, target: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """(H, W) bool -> `target_side` uint8, 255 times the share of each cell that the mask covers."""
        height, width = self.target_side
        image = Image.fromarray(target.astype(np.uint8) * 255)
        return np.asarray(image.resize((width, height), Image.Resampling.BOX))

    def forward(self, states: Tensor, features: ImageFeatures, owners: Tensor) -> Tensor:
        """States (N, state_size), features of B images, owners (N,) -> logits (N, 8 * grid rows, 8 * grid columns)."""
        states = states.float()
        images = [self.tokens(features.tokens.float()).unflatten(1, self.grid) + self.place]
        for stage in range(1, STAGES + 1):
            side = (self.grid[0] * 2**stage, self.grid[1] * 2**stage)
            if self.has_lateral[stage]:
                images.append(self.laterals[stage](_channels_last(features.maps[-1 - stage], side)))
            else:
                images.append(images[0].new_zeros(features.tokens.shape[0], *side, self.channels[stage]))
        if self.has_lateral[0]:
            images[0] = images[0] + self.laterals[0](_channels_last(features.maps[-1], self.grid))
        x = self.conditionings[0](images[0], owners, states)
        match = None
        if features.words is not None:
            match = word_match(features.words, owners, states).unflatten(1, self.grid)[:, None]
            x = x + self.matches[0](_channels_last(match, self.grid))
        for i in range(STAGES):
            x = self.upscalings[i](F.gelu(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            x = x + self.conditionings[i + 1](images[i + 1], owners, states)
            if match is not None:
                x = x + self.matches[i + 1](_channels_last(match, (x.shape[1], x.shape[2])))
            x = x + self.smoothings[i](F.gelu(self.norms[i](x)).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            x = self.attentions[i](x, states)
        return self.out(F.gelu(x)).squeeze(-1)

    def loss(
        self, states: Tensor, features: ImageFeatures, owners: Tensor, targets: Tensor | None
    ) -> dict[str, Tensor]:
        """DICE averaged over the masks (journal paper, eq. 8), plus binary cross-entropy where it has a weight."""
        assert targets is not None  # encode_target always gives one
        truth = targets.float() / 255.0
        logits = F.interpolate(self(states, features, owners)[:, None], truth.shape[-2:], mode="bilinear")[:, 0]
        losses = {}
        if self.dice_weight:
            p = logits.sigmoid().flatten(1)
            t = truth.flatten(1)
            dice = 1.0 - (2.0 * (p * t).sum(1) + 1.0) / (p.sum(1) + t.sum(1) + 1.0)
            losses["mask_dice"] = self.dice_weight * dice.mean()
        if self.bce_weight:
            losses["mask_bce"] = self.bce_weight * F.binary_cross_entropy_with_logits(logits, truth)
        return losses

    @torch.no_grad()
    def decode(
        self,
        states: Tensor,
        features: ImageFeatures | None,
        owners: Tensor | None,
        sizes: Sequence[tuple[int, int]],
        seeds: Sequence[int],
    ) -> list[tuple[NDArray[np.bool_], float]]:
        """Masks with their confidence, the mean probability inside the mask (0 for an empty one).

        Returns:
            For each token a (height, width) bool mask at its image's size, and its score in 0..1.

        Raises:
            InputError: there is no image to segment.
        """
        if features is None or owners is None:
            raise InputError("The reply names an object to segment, but no image was given; pass one with the text.")
        logits = self(states, features, owners)
        masks = []
        for one, size in zip(logits, sizes, strict=True):
            probability = F.interpolate(one[None, None], size, mode="bilinear")[0, 0].sigmoid()
            mask = probability > 0.5
            masks.append((mask.numpy(), float(probability[mask].mean()) if mask.any() else 0.0))
        return masks


def word_match(words: Tensor, owners: Tensor, states: Tensor) -> Tensor:
    """How well each image token fits the word that opens a state: standardised cosine similarities (N, P)."""
    said = F.normalize(words.float(), dim=-1)[owners]
    wanted = F.normalize(states[:, : words.shape[-1]], dim=-1)
    cosine = torch.einsum("npd,nd->np", said, wanted)
    return (cosine - cosine.mean(1, keepdim=True)) * MATCH_SCALE


def _channels_last(feature_map: Tensor, side: tuple[int, int]) -> Tensor:
    """(B, c, h, w) -> (B, *side, c) float32, resized where the map has another resolution."""
    feature_map = feature_map.float()
    if feature_map.shape[-2:] != side:
        feature_map = F.interpolate(feature_map, side, mode="bilinear", antialias=True)
    return feature_map.permute(0, 2, 3, 1)
