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

from neuraltuning.decoders.base import Decoder, LearnOutlines, StateShape
from neuraltuning.decoders.outlines import OutlineFit, Outlines
from neuraltuning.decoders.pointing import (
    COARSE,
    HEAD_SIZE,
    Pointing,
    channels_last,
    image_boxes,
    mean_share,
    pointing_loss,
    told_apart,
    word_match,
)
from neuraltuning.encoders.base import ImageEncoder, ImageFeatures
from neuraltuning.errors import InputError

STAGES = 3
SIMILARITIES = (8, 8, 0, 0)
"""Similarity maps on each grid: the coarse ones choose the object, the fine ones only draw its outline."""
WINDOW = 14
"""Side of the windows that self-attention is restricted to on finer grids, where it would cost too much."""


FIT_EPOCHS = 3
FIT_IMAGES = 8
"""A step."""
FIT_RATE = 6e-3


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
        conditioned = features.index_select(0, owners) * (1.0 + gain) + shift  # its gradient is faster than indexing's
        if self.n_similarities:
            keys = self.keys(features).index_select(0, owners).unflatten(-1, (self.n_similarities, HEAD_SIZE))
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
        state: StateShape,
        encoder: ImageEncoder,
        channels: Sequence[int] = (192, 128, 64, 32),
        attention_layers: Sequence[int] = (3, 3, 3),
        dice_weight: float = 1.0,
        bce_weight: float = 0.0,
        pointing_weight: float = 0.1,
        outlines: int = 0,
    ) -> None:
        """Makes an untrained decoder.

        Args:
            state: of a task token; image tokens are compared with its words.
            encoder: gives the sizes of tokens and maps; it is not kept.
            channels: of the first grid and of the three stages.
            attention_layers: self-attention layers after each stage (the paper: three).
            dice_weight: weight of the DICE loss.
            bce_weight: weight of the binary cross-entropy (u-LLaVA: 2.0 beside 0.5 DICE).
            pointing_weight: weight of the pointers' loss, where the state has words.
            outlines: channels of `Outlines`, of which the pointers choose; 0 for none.

        Raises:
            InputError: `channels` or `attention_layers` has another length, a width is no multiple of 32, or outlines
                lack pointers.
        """
        super().__init__()
        if len(channels) != STAGES + 1 or len(attention_layers) != STAGES:
            raise InputError(
                f"The mask decoder has {STAGES} stages: give {STAGES + 1} channels and {STAGES} attention_layers, "
                f"got {list(channels)} and {list(attention_layers)}."
            )
        if any(c % HEAD_SIZE for c in channels):
            raise InputError(f"Each of the mask decoder's channels must be a multiple of {HEAD_SIZE}, got {channels}.")
        if outlines and not state.words:
            raise InputError(
                "The mask decoder's outlines are chosen by pointers, which need words: set model.state.words to 1 or "
                "more, or the mask decoder's outlines to 0."
            )
        self.grid = encoder.grid
        self.channels = tuple(channels)
        self.dice_weight, self.bce_weight, self.pointing_weight = dice_weight, bce_weight, pointing_weight
        map_channels = [shape[0] for shape in encoder.map_shapes][::-1]  # coarse to fine
        map_channels = (map_channels + [0] * (STAGES + 1))[: STAGES + 1]
        self.tokens = nn.Sequential(nn.LayerNorm(encoder.token_size), nn.Linear(encoder.token_size, channels[0]))
        self.place = nn.Parameter(torch.randn(*self.grid, channels[0]) * 0.02)
        self.state = state
        self.pointing = Pointing(channels, state, outlined=outlines > 0) if state.words else None
        self.laterals = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(m), nn.Linear(m, c)) if m else nn.Identity()
            for m, c in zip(map_channels, channels, strict=True)
        )
        self.has_lateral = [m > 0 for m in map_channels]
        self.conditionings = nn.ModuleList(
            Conditioning(c, state.size, n) for c, n in zip(channels, SIMILARITIES, strict=True)
        )
        self.upscalings = nn.ModuleList(
            nn.ConvTranspose2d(channels[i], channels[i + 1], kernel_size=2, stride=2) for i in range(STAGES)
        )
        self.attentions = nn.ModuleList(
            SelfAttention(c, state.size, n) for c, n in zip(channels[1:], attention_layers, strict=True)
        )
        self.smoothings = nn.ModuleList(nn.Conv2d(c, c, kernel_size=3, padding=1) for c in channels[1:])
        self.norms = nn.ModuleList(nn.LayerNorm(c) for c in channels[1:])
        self.outlines = Outlines(encoder.token_size, map_channels, self.grid, outlines) if outlines else None
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

    def forward(
        self,
        states: Tensor,
        features: ImageFeatures,
        owners: Tensor,
        replies: Tensor | None = None,
        known: int = 0,
    ) -> Tensor:
        """States (N, state.size), features of B images, owners (N,) -> logits (M, 8 * grid rows, 8 * grid columns).

        With `replies` (N,) masks of one reply are told apart (see `told_apart`); the first `known` are left out then,
        so that M is N - known.
        """
        return self._decode(states, features, owners, replies=replies, known=known)[0]

    def _decode(
        self,
        states: Tensor,
        features: ImageFeatures,
        owners: Tensor,
        truth: Tensor | None = None,
        *,
        replies: Tensor | None = None,
        known: int = 0,
    ) -> tuple[Tensor, list[Tensor]]:
        """The logits, and the pointers (see `Pointing`), none where the state has no words.

        With `truth` (N, H, W) some of the pointers that the stages see are the masks' own (`Pointing.taught`).
        `replies` and `known` as in `forward`.
        """
        states = states.float()
        images = self._grids(features)
        pointed: list[Tensor] = []
        pointers: list[Tensor] = []
        if self.pointing is not None:
            match = self._match(states, features, owners)
            boxes = image_boxes(features.boxes, features.tokens, self.grid)
            pointers = self.pointing.pointers(images, owners, states[:, -self.state.free :], match, boxes)
            if replies is not None:
                pointers = told_apart(pointers, replies)
            followed = pointers if truth is None else self.pointing.taught(pointers, truth)
            followed = [pointing[known:] for pointing in followed]
            pointed = self.pointing(images, owners[known:], match[known:], boxes, followed)
        states, owners = states[known:], owners[known:]

        def conditioned(stage: int) -> Tensor:
            x = self.conditionings[stage](images[stage], owners, states)
            return x + pointed[stage] if pointed else x

        x = conditioned(0)
        for i in range(STAGES):
            x = self.upscalings[i](F.gelu(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            x = x + conditioned(i + 1)
            x = x + self.smoothings[i](F.gelu(self.norms[i](x)).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            x = self.attentions[i](x, states)
        logits = self.out(F.gelu(x)).squeeze(-1)
        if self.outlines is not None:
            logits = logits + self.outlines.logits(self.outlines(features), owners, mean_share(followed))
        elif self.pointing is not None:
            logits = logits + self.pointing.logits(followed, (logits.shape[1], logits.shape[2]))
        return logits, pointers

    def _grids(self, features: ImageFeatures, count: int = STAGES + 1) -> list[Tensor]:
        """What each grid shows of the B images, coarse to fine: (B, h, w, c)."""
        images = [self.tokens(features.tokens.float()).unflatten(1, self.grid) + self.place]
        for stage in range(1, count):
            side = (self.grid[0] * 2**stage, self.grid[1] * 2**stage)
            if self.has_lateral[stage]:
                images.append(self.laterals[stage](channels_last(features.maps[-1 - stage], side)))
            else:
                images.append(images[0].new_zeros(features.tokens.shape[0], *side, self.channels[stage]))
        if self.has_lateral[0]:
            images[0] = images[0] + self.laterals[0](channels_last(features.maps[-1], self.grid))
        return images

    def _match(self, states: Tensor, features: ImageFeatures, owners: Tensor) -> Tensor:
        """(N, K, grid rows, grid columns) how the image tokens fit the words of the states."""
        if features.words is None:
            raise ValueError("The state has words, but the image features have none to be compared with.")
        words = states[:, : -self.state.free].unflatten(1, (self.state.words, -1))
        return word_match(features.words, owners, words).unflatten(2, self.grid)

    def outline_fit(self, n_images: int) -> LearnOutlines | None:
        return OutlineFit(self.outlines, n_images) if self.outlines is not None else None

    def fit(self, states: Tensor, features: ImageFeatures, owners: Tensor, targets: Tensor | None) -> None:
        """Teaches the pointers alone, which takes a thirtieth of the time of a step of the whole decoder."""
        if self.pointing is None or targets is None:
            return
        n_images = len(features.tokens)
        per_epoch = -(-n_images // FIT_IMAGES)
        optimizer = torch.optim.AdamW(self.parameters(), lr=FIT_RATE, betas=(0.9, 0.98), weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, FIT_EPOCHS * per_epoch)
        generator = torch.Generator().manual_seed(0)
        for _ in range(FIT_EPOCHS):
            for chosen in torch.randperm(n_images, generator=generator).split(FIT_IMAGES):
                place = torch.full((n_images,), -1).scatter(0, chosen, torch.arange(len(chosen)))[owners.cpu()]
                own = (place >= 0).nonzero()[:, 0].to(states.device)
                seen, whose = features.select(chosen.to(states.device)), place.to(states.device)[own]
                images = self._grids(seen, COARSE)
                match = self._match(states[own], seen, whose)
                boxes = image_boxes(seen.boxes, seen.tokens, self.grid)
                pointers = self.pointing.pointers(images, whose, states[own, -self.state.free :], match, boxes)
                optimizer.zero_grad(set_to_none=True)
                pointing_loss(pointers, targets[own].float() / 255.0, self.grid).backward()
                nn.utils.clip_grad_norm_(self.parameters(), 1.0)
                optimizer.step()
                schedule.step()
        optimizer.zero_grad(set_to_none=True)

    def loss(
        self, states: Tensor, features: ImageFeatures, owners: Tensor, targets: Tensor | None
    ) -> dict[str, Tensor]:
        """DICE averaged over the masks (journal paper, eq. 8), plus binary cross-entropy where it has a weight.

        Where the state has words, `mask_pointing` teaches the pointers (see `pointing_loss`).
        """
        assert targets is not None  # encode_target always gives one
        truth = targets.float() / 255.0
        logits, pointers = self._decode(states, features, owners, truth if self.training else None)
        logits = F.interpolate(logits[:, None], truth.shape[-2:], mode="bilinear")[:, 0]
        losses = {}
        if self.dice_weight:
            p = logits.sigmoid().flatten(1)
            t = truth.flatten(1)
            dice = 1.0 - (2.0 * (p * t).sum(1) + 1.0) / (p.sum(1) + t.sum(1) + 1.0)
            losses["mask_dice"] = self.dice_weight * dice.mean()
        if self.bce_weight:
            losses["mask_bce"] = self.bce_weight * F.binary_cross_entropy_with_logits(logits, truth)
        if pointers and self.pointing_weight:
            losses["mask_pointing"] = self.pointing_weight * pointing_loss(pointers, truth, self.grid)
        return losses

    @torch.no_grad()
    def decode(
        self,
        states: Tensor,
        features: ImageFeatures | None,
        owners: Tensor | None,
        sizes: Sequence[tuple[int, int]],
        seeds: Sequence[int],
        replies: Tensor | None = None,
        known: int = 0,
    ) -> list[tuple[NDArray[np.bool_], float]]:
        """Masks with their confidence, the mean probability inside the mask (0 for an empty one).

        Returns:
            For each token a (height, width) bool mask at its image's size, and its score in 0..1.

        Raises:
            InputError: there is no image to segment.
        """
        if features is None or owners is None:
            raise InputError("The reply names an object to segment, but no image was given; pass one with the text.")
        logits = self(states, features, owners, replies, known)
        masks = []
        for one, size in zip(logits, sizes[known:], strict=True):
            probability = F.interpolate(one[None, None], size, mode="bilinear")[0, 0].sigmoid()
            mask = probability > 0.5
            masks.append((mask.cpu().numpy(), float(probability[mask].mean()) if mask.any() else 0.0))
        return masks
