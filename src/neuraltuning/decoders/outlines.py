"""Which cells of a fine grid show an object, and the box of the object that each shows.

Cells that show what is pointed at agree on its box, so that a mask is what is left to choose among outlines that are
there before any text (each cell votes for its object's place, as in Cheng et al. 2020, "Panoptic-DeepLab"). An addition
to the papers' decoder, which has to learn outlines from the masks that texts ask for, one at a time. Outlines are
learned from images whose objects all have masks, and of no class. Knows nothing of tokens, words or pointers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import get_cosine_schedule_with_warmup

from neuraltuning.decoders.pointing import channels_last
from neuraltuning.encoders.base import ImageFeatures
from neuraltuning.reply import mask_box

IMAGES = 2
"""A step of the fit."""
RATE, WARMUP_SHARE = 6e-3, 0.1
"""Of the fit: AdamW, whose rate rises for this share of the steps and then falls with a cosine."""
BOX_WEIGHT = 0.5
"""Of the boxes' mean absolute error, in shares of the image, beside the cross-entropy of what shows an object."""
SMALLEST_SIDE = 0.05
"""Share of the image; boxes count as no smaller where distances are told in their sides."""
SIDES = 0.25
"""Weight of the squared difference of two boxes' sides beside that of their centres."""
WITHIN, SHARPNESS = 3.0, 19.0
"""A cell belongs to what is pointed at with a logit of `WITHIN` less `SHARPNESS` times the squared distance of the two
boxes in sides, at first; so it rather does up to two fifths of a side."""
LOWEST = -12.0
"""Logits of belonging to it are no lower."""


class Outlines(nn.Module):
    """A small network on an encoder's feature maps, from the coarsest to the finest."""

    def __init__(self, token_size: int, map_channels: Sequence[int], grid: tuple[int, int], channels: int) -> None:
        """Makes an untrained network.

        Args:
            token_size: channels of a patch token; tokens are read where the encoder has no maps.
            map_channels: for `grid` and each grid of twice the side of the one before, the channels of the encoder's
                map there, 0 where it has none.
            grid: rows and columns of the patch tokens.
            channels: width of the network.
        """
        super().__init__()
        self.grid = grid
        self.reads_tokens = not any(map_channels)
        sizes = [token_size, *map_channels[1:]] if self.reads_tokens else map_channels
        self.laterals = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(size), nn.Linear(size, channels)) if size else nn.Identity() for size in sizes
        )
        self.middle = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.norm = nn.LayerNorm(channels)
        self.smoothing = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.out = nn.Linear(channels, 5)
        self.within = nn.Parameter(torch.tensor(WITHIN))
        self.sharpness = nn.Parameter(torch.tensor(SHARPNESS))

    def forward(self, features: ImageFeatures) -> Tensor:
        """(B, h, w, 5) of B images, on the finest grid: the logit that a cell shows an object, and that object's box.

        A box is the centre's row and column and its height and width, in shares of the image.
        """
        x = self._lateral(features, 0)
        for stage in range(1, len(self.laterals)):
            x = F.interpolate(x, scale_factor=2, mode="bilinear")
            if not isinstance(self.laterals[stage], nn.Identity):
                x = x + self._lateral(features, stage)
            if stage == 1:  # where a cell's surroundings are wide and cells still few
                x = x + F.gelu(self.middle(F.gelu(x)))
        normed = F.gelu(self.norm(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        x = x + self.smoothing(normed)
        shown, centres, sides = self.out(F.gelu(x).permute(0, 2, 3, 1)).split([1, 2, 2], dim=-1)
        return torch.cat([shown, centres + _centres(shown.shape[1], shown.shape[2], shown.device), sides], dim=-1)

    def _lateral(self, features: ImageFeatures, stage: int) -> Tensor:
        """(B, channels, h, w) what the encoder has on the grid of a stage."""
        if self.reads_tokens:
            return self.laterals[0](features.tokens.float()).transpose(1, 2).unflatten(2, self.grid)
        side = (self.grid[0] * 2**stage, self.grid[1] * 2**stage)
        return self.laterals[stage](channels_last(features.maps[-1 - stage], side)).permute(0, 3, 1, 2)

    def logits(self, outlines: Tensor, owners: Tensor, share: Tensor) -> Tensor:
        """What is pointed at, cell by cell.

        Args:
            outlines: (B, h, w, 5), see `forward`.
            owners: (N,) int64, each pointer's image.
            share: (N, h', w') how much of what is pointed at each cell of a coarser grid shows; a pointer's shares add
                up to 1.

        Returns:
            (N, h, w) logits that a cell shows an object, and the one that is pointed at.
        """
        logits, boxes = outlines[..., 0], outlines[..., 1:]
        shown = logits.sigmoid().unsqueeze(1)
        side = (share.shape[1], share.shape[2])
        mass = F.adaptive_avg_pool2d(shown, side)
        voted = F.adaptive_avg_pool2d(shown * boxes.permute(0, 3, 1, 2), side)
        weight = torch.einsum("nhw,nhw->n", share, mass.index_select(0, owners)[:, 0])
        picked = torch.einsum("nhw,nchw->nc", share, voted.index_select(0, owners)) / weight[:, None].clamp_min(1e-4)
        sides = picked[:, None, None, 2:].clamp_min(SMALLEST_SIDE)
        away = (boxes.index_select(0, owners) - picked[:, None, None]).unflatten(-1, (2, 2)) / sides.unsqueeze(-2)
        centres, extents = away.square().sum(-1).unbind(-1)
        belongs = (self.within - self.sharpness * (centres + SIDES * extents)).clamp_min(LOWEST)
        # both have to hold: the logit of a product of probabilities, but for its smallest term
        return -torch.logaddexp(-logits.index_select(0, owners), -belongs)


class OutlineFit:
    """Teaches `Outlines` while images go by, each once."""

    def __init__(self, outlines: Outlines, n_images: int) -> None:
        """Begins.

        Args:
            outlines: is changed.
            n_images: images at most that will come; the rate falls towards them.
        """
        self._outlines = outlines
        self._parameters = [*outlines.parameters()]
        steps = -(-n_images // IMAGES)
        self._optimizer = torch.optim.AdamW(self._parameters, lr=RATE)
        self._schedule = get_cosine_schedule_with_warmup(self._optimizer, round(WARMUP_SHARE * steps), steps)

    def __call__(self, features: ImageFeatures, masks: Sequence[Sequence[NDArray[np.bool_]]]) -> None:
        """Learns from B images and the (H, W) masks of all objects of each; an image without any is left out."""
        told = [number for number, own in enumerate(masks) if own]
        for start in range(0, len(told), IMAGES):
            chosen = told[start : start + IMAGES]
            with torch.enable_grad():
                found = self._outlines(features.select(torch.tensor(chosen, device=features.tokens.device)))
                shown, boxes = _truth([masks[number] for number in chosen], (found.shape[1], found.shape[2]))
                shown, boxes = shown.to(found.device), boxes.to(found.device)
                loss = F.binary_cross_entropy_with_logits(found[..., 0], shown)
                away = (found[..., 1:] - boxes).abs().sum(-1) * shown
                (loss + BOX_WEIGHT * away.sum() / shown.sum().clamp_min(1.0)).backward()
            nn.utils.clip_grad_norm_(self._parameters, 1.0)
            self._optimizer.step()
            self._optimizer.zero_grad(set_to_none=True)
            self._schedule.step()


def _truth(masks: Sequence[Sequence[NDArray[np.bool_]]], side: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """1 where a cell shows an object (B, h, w), and the box of that object (B, h, w, 4), zeros where it shows none."""
    shown, boxes = [], []
    for own in masks:
        covered = torch.stack([F.adaptive_avg_pool2d(torch.from_numpy(mask)[None].float(), side)[0] for mask in own])
        best, which = covered.max(0)
        height, width = own[0].shape
        outer = [
            ((y + h / 2) / height, (x + w / 2) / width, h / height, w / width) for x, y, w, h in map(mask_box, own)
        ]
        shown.append((best > 0.5).float())
        boxes.append(torch.tensor(outer)[which] * shown[-1][..., None])
    return torch.stack(shown), torch.stack(boxes)


def _centres(height: int, width: int, device: torch.device) -> Tensor:
    """(h, w, 2) row and column of the cells' centres, in shares of the image."""
    y, x = ((torch.arange(side, device=device) + 0.5) / side for side in (height, width))
    return torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1)
