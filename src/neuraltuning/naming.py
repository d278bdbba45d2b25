"""Names for what groups of patches show, spelt with the LLM's own tokens behind an image's patch tokens.

A frozen LLM reads its own words long before it reads projected patches (docs/experiments.md). So neighbouring patches
that show the same class form a group, and each group is named, from left to right: ` dog, palm tree,`. The classes are
those of the images that the classifier was fitted on; what it isn't sure of stays unnamed. Knows nothing of networks.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BACKGROUND_CLASS = 0
"""The class of patches that show no object; it is never named."""
CONFIDENCE = 0.25
"""A group is named if the probability of its class reaches this in one of its patches."""
MAX_PIECES = 12
"""Tokens of a name at most; longer names are cut."""

STEPS, BATCH, RATE, WEIGHT_DECAY, SMOOTHING = 200, 4096, 2e-3, 1e-2, 0.05
"""Of the classifier's fit: AdamW with cosine decay on the smoothed cross-entropy."""


class Naming(nn.Module):
    """A linear classifier of patches, and the spelling of its classes.

    All its tensors are buffers: they are fitted once, before training, and not trained on.
    """

    weight: Tensor
    bias: Tensor
    pieces: Tensor
    center: Tensor
    near: Tensor

    def __init__(
        self,
        token_size: int,
        grid: tuple[int, int],
        vocabulary: int,
        slots: int,
        separator: Sequence[int],
        padding: int,
    ) -> None:
        """Makes a classifier that knows no name yet.

        Args:
            token_size: C, channels of a patch token.
            grid: rows and columns of the patches.
            vocabulary: V, classes at most, the background among them.
            slots: S, positions an image.
            separator: token ids that follow each name.
            padding: token id of the positions that no name takes.
        """
        super().__init__()
        self.grid, self.slots = grid, slots
        self.separator, self.padding = list(separator), padding
        self.register_buffer("center", torch.zeros(token_size))
        self.register_buffer("weight", torch.zeros(vocabulary, token_size))
        bias = torch.full((vocabulary,), -torch.inf)
        bias[BACKGROUND_CLASS] = 0.0  # sure to be background as long as it knows no name
        self.register_buffer("bias", bias)
        self.register_buffer("pieces", torch.full((vocabulary, MAX_PIECES), -1))
        self.register_buffer("near", _neighbours(grid), persistent=False)

    def probabilities(self, tokens: Tensor) -> Tensor:
        """(..., C) patch tokens -> (..., V) probabilities of the classes."""
        return F.linear(self._normed(tokens), self.weight, self.bias).softmax(-1)

    def mean_pieces(self, embedding: nn.Module) -> Tensor:
        """(V, D) float32 the mean of each name's input vectors, zeros where there is no name.

        `embedding` is the LLM's input embedding module, (...) ids -> (..., D).
        """
        present = self.pieces >= 0
        vectors = embedding(self.pieces.clamp_min(0)).float() * present[..., None]
        return vectors.sum(1) / present.sum(1, keepdim=True).clamp_min(1)

    @torch.no_grad()
    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Names what images show.

        Args:
            tokens: (B, P, C) float, row-major over the grid.

        Returns:
            (B, S) int64 token ids, and (B, S, P) float32: for a position of a name the group's patches in equal
            shares, for others zeros.
        """
        probability, label = self.probabilities(tokens).max(-1)
        groups = self._groups(label)
        ids = torch.full((len(tokens), self.slots), self.padding, device=tokens.device)
        shares = torch.zeros(len(tokens), self.slots, tokens.shape[1], device=tokens.device)
        for image in range(len(tokens)):
            place = 0
            for spelling, patches in self._named(probability[image], label[image], groups[image]):
                written = [*spelling, *self.separator]
                if place + len(written) > self.slots:
                    break
                ids[image, place : place + len(written)] = torch.tensor(written, device=ids.device)
                shares[image, place : place + len(spelling)] = patches.float() / patches.sum()
                place += len(written)
        return ids, shares

    def _named(self, probability: Tensor, label: Tensor, groups: Tensor) -> list[tuple[list[int], Tensor]]:
        """The spelling and the (P,) bool patches of each group of one image that is named, from left to right."""
        found = []
        for first in groups[label != BACKGROUND_CLASS].unique().tolist():
            patches = groups == first
            if probability[patches].max() >= CONFIDENCE:
                column = (patches.nonzero()[:, 0] % self.grid[1]).float().mean().item()
                spelling = [piece for piece in self.pieces[label[first]].tolist() if piece >= 0]
                found.append((column, first, spelling, patches))
        return [(spelling, patches) for _, _, spelling, patches in sorted(found, key=lambda entry: entry[:2])]

    def _groups(self, label: Tensor) -> Tensor:
        """(B, P) classes -> (B, P) the first patch of the connected patches of the same class that each is among."""
        n_patches = label.shape[1]
        reach = ((label[:, :, None] == label[:, None, :]) & self.near).float()
        for _ in range(max(1, (n_patches - 1).bit_length())):  # each squaring doubles the steps that are bridged
            reach = (reach @ reach).clamp_max(1.0)
        numbers = torch.arange(n_patches, device=label.device)
        return torch.where(reach > 0, numbers, n_patches).amin(-1)

    def fit(self, tokens: Tensor, labels: Tensor, spellings: Sequence[Sequence[int]], seed: int) -> None:
        """Fits the classifier by softmax regression.

        Args:
            tokens: (N, C) patch tokens of any float type.
            labels: (N,) int64 the class of each, an index into `spellings`.
            spellings: token ids of each class's name; the background's, the first, is not used. Classes beyond the
                vocabulary are left out, the rarest ones.
            seed: of the batches.
        """
        counts = torch.bincount(labels, minlength=len(spellings))
        counts[BACKGROUND_CLASS] = len(labels) + 1
        classes = counts.argsort(descending=True, stable=True)[: len(self.bias)]
        rank = torch.full((len(spellings),), -1, device=labels.device)
        rank[classes] = torch.arange(len(classes), device=labels.device)
        kept = (rank[labels] >= 0).nonzero()[:, 0]
        self.center.copy_(F.layer_norm(tokens[kept[: 16 * BATCH]].float(), tokens.shape[1:]).mean(0))
        generator = torch.Generator().manual_seed(seed)
        weight = torch.zeros(len(classes), tokens.shape[1], device=tokens.device, requires_grad=True)
        bias = torch.zeros(len(classes), device=tokens.device, requires_grad=True)
        optimizer = torch.optim.AdamW([weight, bias], lr=RATE, weight_decay=WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
        with torch.enable_grad():
            for _ in range(STEPS):
                chosen = kept[torch.randint(len(kept), (min(BATCH, len(kept)),), generator=generator).to(kept.device)]
                logits = F.linear(self._normed(tokens[chosen]), weight, bias)
                loss = F.cross_entropy(logits, rank[labels[chosen]], label_smoothing=SMOOTHING)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
        self.weight.zero_()[: len(classes)] = weight.detach()
        self.bias.fill_(-torch.inf)[: len(classes)] = bias.detach()
        self.pieces.fill_(-1)
        for place, number in enumerate(classes.tolist()):
            spelling = torch.tensor(list(spellings[number])[:MAX_PIECES], dtype=torch.int64)
            self.pieces[place, : len(spelling)] = spelling.to(self.pieces.device)

    def _normed(self, tokens: Tensor) -> Tensor:
        return F.layer_norm(tokens.float(), tokens.shape[-1:]) - self.center


def _neighbours(grid: tuple[int, int]) -> Tensor:
    """(P, P) bool, whether two patches touch, at a corner too; each touches itself."""
    rows, columns = (axis.flatten() for axis in torch.meshgrid(*(torch.arange(n) for n in grid), indexing="ij"))
    return ((rows[:, None] - rows).abs() <= 1) & ((columns[:, None] - columns).abs() <= 1)
