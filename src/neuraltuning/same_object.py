"""How likely two patches show one object, from what they show, the boxes they vote for and how others vote around them.

A fixed limit of how far the votes of one object lie apart takes two that overlap for one, or one for two. What tells
them apart best is whether other patches of their kind vote for the place between the two (docs/experiments.md). Knows
nothing of names or masks.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HIDDEN_SIZE = 64
NEARNESS = (0.12, 0.25)
"""Standard deviations, in sides of a box, of the Gaussians by which votes near a place are counted."""
WITNESSES = 200
"""Patches at most whose votes are counted; of finer grids every second, third, ..."""
FEATURES = 17 + 4 * len(NEARNESS)
ALIKE = 10
"""Which of them is the cosine between the two patches' classes."""
FEW = 0.01
"""Added to counts before their logarithm is taken."""
VALLEY = 6.0
"""What a ratio of counts may be at most, as a logarithm."""
STEPS, BATCH, RATE, WEIGHT_DECAY = 600, 4096, 2e-3, 1e-2
"""Of the fit: AdamW with cosine decay."""


class SameObject(nn.Module):
    """A perceptron from features of two patches to the probability that they show one object.

    All its tensors are buffers: they are fitted once, before training, and not trained on. Before that, and where no
    picture showed two objects to learn from, two patches are as likely to show one as they are alike in class.
    """

    learned: Tensor
    mean: Tensor
    scale: Tensor
    first: Tensor
    first_bias: Tensor
    second: Tensor
    second_bias: Tensor
    third: Tensor
    third_bias: Tensor

    def __init__(self) -> None:
        super().__init__()
        sizes = (FEATURES, HIDDEN_SIZE, HIDDEN_SIZE, 1)
        self.register_buffer("learned", torch.tensor(False))
        self.register_buffer("mean", torch.zeros(FEATURES))
        self.register_buffer("scale", torch.ones(FEATURES))
        for name, inner, outer in zip(("first", "second", "third"), sizes[:-1], sizes[1:], strict=True):
            self.register_buffer(name, torch.zeros(outer, inner))
            self.register_buffer(f"{name}_bias", torch.zeros(outer))

    def forward(self, features: Tensor) -> Tensor:
        """(..., FEATURES) of pairs of patches, see `pair_features` -> (...) probabilities."""
        likely = self._logits((features - self.mean) * self.scale, self._weights()).sigmoid()
        return torch.where(self.learned, likely, features[..., ALIKE])

    def fit(self, features: Tensor, same: Tensor, seed: int) -> None:
        """Trains the perceptron, if there are two patches of two objects among the pairs.

        Args:
            features: (N, FEATURES) of pairs of patches, on images that what finds classes and boxes didn't learn from:
                it is surer of those.
            same: (N,) float32, 1 where the two show one object and 0 where they show two.
            seed: of the first weights and of the batches.
        """
        self.learned.fill_(bool((same == 0).any()))
        if not self.learned:
            return
        generator = torch.Generator().manual_seed(seed)
        self.mean.copy_(features.mean(0))
        self.scale.copy_(1.0 / (features.std(0, correction=0) + 1e-4))
        for weight in self._weights():
            bound = (weight.shape[-1] if weight.dim() > 1 else HIDDEN_SIZE) ** -0.5
            weight.copy_(torch.empty(weight.shape).uniform_(-bound, bound, generator=generator))
        trained = [weight.clone().requires_grad_() for weight in self._weights()]
        optimizer = torch.optim.AdamW(trained, lr=RATE, weight_decay=WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
        with torch.enable_grad():
            for _ in range(STEPS):
                chosen = torch.randint(len(same), (min(BATCH, len(same)),), generator=generator).to(same.device)
                logits = self._logits((features[chosen] - self.mean) * self.scale, trained)
                loss = F.binary_cross_entropy_with_logits(logits, same[chosen])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
        for weight, learned in zip(self._weights(), trained, strict=True):
            weight.copy_(learned.detach())

    def _weights(self) -> list[Tensor]:
        return [self.first, self.first_bias, self.second, self.second_bias, self.third, self.third_bias]

    @staticmethod
    def _logits(features: Tensor, weights: list[Tensor]) -> Tensor:
        first, first_bias, second, second_bias, third, third_bias = weights
        hidden = F.gelu(F.linear(F.gelu(F.linear(features, first, first_bias)), second, second_bias))
        return F.linear(hidden, third, third_bias)[..., 0]


def witnesses(n_patches: int) -> Tensor:
    """(K,) int64 the patches of a grid whose votes are counted, if they show an object."""
    return torch.arange(0, n_patches, -(-n_patches // WITNESSES))


def pair_features(
    classes: Tensor, attributes: Tensor, boxes: Tensor, centres: Tensor, counted: Tensor, weights: Tensor
) -> Tensor:
    """What tells whether two patches show one object; the same for both orders of the two.

    Args:
        classes: (..., P, V) probabilities of each patch's class, without that of nothing.
        attributes: (..., P, A) probabilities of its attribute, zeros as far as there is none.
        boxes: (..., P, 4) votes, see `BoxVotes`.
        centres: (P, 2) row and column of each patch's centre, in patches.
        counted: (K,) int64, the patches whose votes are counted.
        weights: (..., K) float32, how often.

    Returns:
        (..., P, P, FEATURES) float32.
    """
    place, sides = boxes[..., :2], boxes[..., 2:]
    mean_sides = (sides[..., :, None, :] + sides[..., None, :, :]) / 2
    offset = (place[..., :, None, :] - place[..., None, :, :]).abs() / mean_sides
    ratio = (sides.log()[..., :, None, :] - sides.log()[..., None, :, :]).abs()
    between = (centres[:, None] - centres).abs() / mean_sides
    low, high = place - sides / 2, place + sides / 2
    lowest_high = torch.minimum(high[..., :, None, :], high[..., None, :, :])
    both = (lowest_high - torch.maximum(low[..., :, None, :], low[..., None, :, :])).clamp_min(0).prod(-1)
    areas = sides.prod(-1)
    overlap = both / (areas[..., :, None] + areas[..., None, :] - both)
    # how far out of the other's box, whose border is at 0.5
    out = ((centres[:, None] - place[..., None, :, :]).abs() / sides[..., None, :, :]).amax(-1)
    sure = classes.amax(-1)
    kinds, said = F.normalize(classes, dim=-1), F.normalize(attributes, dim=-1)
    alike = kinds @ kinds.mT
    has = said.any(-1)
    told = (has[..., :, None] & has[..., None, :]).float()
    single = [offset.norm(dim=-1), overlap, alike, (said @ said.mT) * told, told]
    for value, other in ((out, out.mT), (sure[..., :, None], sure[..., None, :])):
        single += [torch.minimum(value, other), torch.maximum(value, other)]
    counts = _counts(place, mean_sides, alike, counted, weights)
    return torch.cat([offset, ratio, between, mean_sides, torch.stack(single, dim=-1), *counts], dim=-1)


def _counts(place: Tensor, sides: Tensor, alike: Tensor, counted: Tensor, weights: Tensor) -> list[Tensor]:
    """How many patches that look like both vote for the place between two votes and for the two themselves.

    Args:
        place: (..., P, 2) the voted centres.
        sides: (..., P, P, 2) of two boxes on average: the unit of distances.
        alike: (..., P, P) cosines of what patches show.
        counted, weights: those of `pair_features`.

    Returns:
        For each of `NEARNESS` (..., P, P, 4): logarithms of the count between them over the smaller one at the two, of
        the smaller, of the larger, and of the one between them.
    """
    votes, likeness = place[..., counted, :], alike[..., counted].clamp_min(0.0)
    weight = (likeness[..., :, None, :] * likeness[..., None, :, :]).sqrt() * weights[..., None, None, :]
    middle = (place[..., :, None, :] + place[..., None, :, :]) / 2
    places = (place[..., :, None, :].expand(middle.shape), place[..., None, :, :].expand(middle.shape), middle)
    squares = []
    for at in places:
        y, x = ((at[..., axis, None] - votes[..., None, None, :, axis]) / sides[..., axis, None] for axis in (0, 1))
        squares.append(y**2 + x**2)
    found = []
    for near in NEARNESS:
        one, other, inner = ((-square / (2.0 * near**2)).exp().mul(weight).sum(-1) + FEW for square in squares)
        fewer, more = torch.minimum(one, other), torch.maximum(one, other)
        found.append(torch.stack([(inner / fewer).log().clamp_max(VALLEY), fewer.log(), more.log(), inner.log()], -1))
    return found
