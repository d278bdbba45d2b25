"""Which box the object has that a patch shows: each patch votes, and the votes of one object's patches agree.

Patches of two objects of one class that touch look alike and are told apart by what they vote for (Hough voting, as in
Qi et al. 2019, "Deep Hough Voting"). Knows nothing of classes, names or masks.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HIDDEN_SIZE = 256
SMALLEST = 0.3
"""Sides of a box in patches, at least."""

STEPS, PASSES, BATCH, RATE, WEIGHT_DECAY = 300, 8, 1024, 2e-3, 0.05
"""Of the fit: AdamW with cosine decay, for so many steps, or as many as so many passes over the patches are."""
ROUND = 0.3
"""Patches; errors below this count with their square, larger ones with their size."""


class BoxVotes(nn.Module):
    """A perceptron from a patch's token to a box relative to the patch.

    All its tensors are buffers: they are fitted once, before training, and not trained on. Before that each patch votes
    for itself.
    """

    centres: Tensor
    mean: Tensor
    first: Tensor
    first_bias: Tensor
    second: Tensor
    second_bias: Tensor

    def __init__(self, token_size: int, grid: tuple[int, int]) -> None:
        """Makes votes of each patch for itself.

        Args:
            token_size: C, channels of a patch token.
            grid: rows and columns of the patches.
        """
        super().__init__()
        self.grid = grid
        self.register_buffer("centres", patch_centres(grid), persistent=False)
        self.register_buffer("mean", torch.zeros(token_size))
        self.register_buffer("first", torch.zeros(HIDDEN_SIZE, token_size))
        self.register_buffer("first_bias", torch.zeros(HIDDEN_SIZE))
        self.register_buffer("second", torch.zeros(4, HIDDEN_SIZE))
        self.register_buffer("second_bias", torch.tensor([0.0, 0.0, 1.0, 1.0]))

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, P, C) patch tokens, row-major over the grid -> (B, P, 4) float32 boxes.

        A box is the centre's row and column and its height and width, in patches from the image's top left corner.
        """
        hidden = F.gelu(F.linear(self._normed(tokens), self.first, self.first_bias))
        relative = F.linear(hidden, self.second, self.second_bias)
        return torch.cat([relative[..., :2] + self.centres, relative[..., 2:].clamp_min(SMALLEST)], dim=-1)

    def fit(self, tokens: Tensor, places: Tensor, boxes: Tensor, seed: int) -> None:
        """Trains the perceptron.

        Args:
            tokens: (N, C) tokens of patches that show an object, of any float type.
            places: (N,) int64, which patch of its image each is.
            boxes: (N, 4) float32 the object's, as `forward` gives them.
            seed: of the first weights and of the batches.
        """
        generator = torch.Generator().manual_seed(seed)
        self.mean.copy_(F.layer_norm(tokens[: 16 * BATCH].float(), tokens.shape[1:]).mean(0))
        wanted = torch.cat([boxes[:, :2] - self.centres[places], boxes[:, 2:]], dim=1)
        weights = [self.first, self.first_bias, self.second, self.second_bias]
        for weight in weights:
            bound = weight.shape[-1] ** -0.5
            weight.copy_(torch.empty(weight.shape).uniform_(-bound, bound, generator=generator))
        trained = [weight.clone().requires_grad_() for weight in weights]
        optimizer = torch.optim.AdamW(trained, lr=RATE, weight_decay=WEIGHT_DECAY)
        steps = max(STEPS, PASSES * len(tokens) // BATCH)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        with torch.enable_grad():
            for _ in range(steps):
                chosen = torch.randint(len(tokens), (min(BATCH, len(tokens)),), generator=generator).to(tokens.device)
                hidden = F.gelu(F.linear(self._normed(tokens[chosen]), trained[0], trained[1]))
                loss = F.smooth_l1_loss(F.linear(hidden, trained[2], trained[3]), wanted[chosen], beta=ROUND)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
        for weight, learned in zip(weights, trained, strict=True):
            weight.copy_(learned.detach())

    def _normed(self, tokens: Tensor) -> Tensor:
        return F.layer_norm(tokens.float(), tokens.shape[-1:]) - self.mean


def patch_centres(grid: tuple[int, int]) -> Tensor:
    """(P, 2) row and column of each patch's centre, in patches."""
    rows, columns = torch.meshgrid(*(torch.arange(n) + 0.5 for n in grid), indexing="ij")
    return torch.stack([rows.flatten(), columns.flatten()], dim=1)
