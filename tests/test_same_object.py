"""Whether two patches show one object: what tells it, who is counted, and what is learned from pairs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from neuraltuning import same_object
from neuraltuning.box_votes import patch_centres
from neuraltuning.same_object import FEATURES, SameObject, pair_features, witnesses

GRID = (4, 6)
CENTRES = patch_centres(GRID)
N = len(CENTRES)


def features(boxes: Tensor, classes: Tensor | None = None, attributes: Tensor | None = None) -> Tensor:
    """Of all pairs of the grid's patches, which vote for `boxes` (24, 4) and look alike by default."""
    classes = torch.full((N, 2), 0.5) if classes is None else classes
    attributes = torch.zeros(N, 3) if attributes is None else attributes
    return pair_features(classes, attributes, boxes, CENTRES, witnesses(N), torch.ones(N))


def one_or_two(seed: int, noise: float = 0.12) -> tuple[Tensor, Tensor]:
    """Votes for one box, or for two that overlap by nearly half, of 24 patches, and whose each patch is."""
    generator = torch.Generator().manual_seed(seed)
    side = 2.0 + 2.0 * torch.rand(1, generator=generator)
    owners = (CENTRES[:, 1] > 3.0).long() if seed % 2 else torch.zeros(N, dtype=torch.int64)
    middle = torch.tensor([[2.0, 3.0 - 0.3 * float(side)], [2.0, 3.0 + 0.3 * float(side)]])
    if not seed % 2:
        middle[:] = torch.tensor([2.0, 3.0])
    votes = middle[owners] + noise * side * torch.randn(N, 2, generator=generator)
    return torch.cat([votes, side.expand(N, 2)], dim=1), owners


def learned(first: int, count: int) -> SameObject:
    same = SameObject()
    found, truth = [], []
    for seed in range(first, first + count):
        boxes, owners = one_or_two(seed)
        upper = torch.triu_indices(N, N, 1)
        found.append(features(boxes)[upper[0], upper[1]])
        truth.append((owners[upper[0]] == owners[upper[1]]).float())
    same.fit(torch.cat(found), torch.cat(truth), seed=0)
    return same


def test_before_it_has_learned_two_are_as_likely_one_as_they_are_alike() -> None:
    """So too where each picture shows one object: then whatever is unlike would be taken for one."""
    classes = F.one_hot(torch.arange(N) % 3).float()
    found = features(one_or_two(0)[0], classes)
    pairs = found.flatten(0, 1)
    untaught = SameObject()
    for _ in range(2):
        assert torch.equal(untaught(found), classes @ classes.T)
        untaught.fit(pairs, torch.ones(len(pairs)), seed=0)
    untaught.fit(pairs[:0], torch.ones(0), seed=0)
    assert torch.equal(untaught(found), classes @ classes.T)


def test_what_tells_is_the_same_for_both_orders_of_the_two() -> None:
    generator = torch.Generator().manual_seed(2)
    classes, attributes = torch.rand(N, 2, generator=generator), torch.rand(N, 3, generator=generator)
    attributes[::3] = 0.0
    found = features(torch.rand(N, 4, generator=generator) + 0.5, classes, attributes)
    assert found.shape == (N, N, FEATURES)
    assert found.isfinite().all()
    torch.testing.assert_close(found, found.transpose(0, 1))


def test_two_that_overlap_are_told_from_one_whose_votes_scatter() -> None:
    same = learned(first=0, count=40)
    for seed in range(100, 108):
        boxes, owners = one_or_two(seed)
        right = (same(features(boxes)) > 0.5) == (owners[:, None] == owners)
        assert right.float().mean() > 0.9


def test_the_same_seed_learns_the_same() -> None:
    one, other = learned(0, 4), learned(0, 4)
    assert all(torch.equal(one.state_dict()[name], tensor) for name, tensor in other.state_dict().items())


def test_several_images_at_once_are_each_as_alone() -> None:
    boxes = torch.stack([one_or_two(seed)[0] for seed in range(3)])
    shown = torch.stack([torch.arange(N) % (seed + 2) > 0 for seed in range(3)]).float()
    classes, attributes = torch.full((3, N, 2), 0.5), torch.zeros(3, N, 3)
    together = pair_features(classes, attributes, boxes, CENTRES, witnesses(N), shown)
    for place in range(3):
        own = (classes[place], attributes[place], boxes[place], CENTRES, witnesses(N), shown[place])
        torch.testing.assert_close(together[place], pair_features(*own))


def test_who_is_not_shown_is_not_counted() -> None:
    """What the patches of the background vote for says nothing."""
    boxes, _ = one_or_two(1)
    shown = torch.arange(0, N, 2)
    alone = pair_features(
        torch.full((12, 2), 0.5), torch.zeros(12, 3), boxes[shown], CENTRES[shown], torch.arange(12), torch.ones(12)
    )
    weights = torch.zeros(N)
    weights[shown] = 1.0
    among = pair_features(torch.full((N, 2), 0.5), torch.zeros(N, 3), boxes, CENTRES, witnesses(N), weights)
    torch.testing.assert_close(among[shown][:, shown], alone)


def test_of_many_patches_some_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert witnesses(100).tolist() == list(range(100))
    monkeypatch.setattr(same_object, "WITNESSES", 40)
    assert witnesses(100).tolist() == list(range(0, 100, 3))
