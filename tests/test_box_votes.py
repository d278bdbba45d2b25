"""Votes for boxes: what an unfitted one says and what it learns."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from neuraltuning import box_votes
from neuraltuning.box_votes import SMALLEST, BoxVotes, patch_centres

GRID = (3, 5)


def seen(count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens that tell where their object's middle is and how large it is, their patches, and the boxes."""
    generator = torch.Generator().manual_seed(seed)
    places = torch.randint(15, (count,), generator=generator)
    relative = torch.rand(count, 4, generator=generator) * 3.0 + torch.tensor([-1.5, -1.5, 0.5, 0.5])
    rest = torch.tensor([3.0, -3.0]).repeat(count, 3) + 0.1 * torch.randn(count, 6, generator=generator)
    tokens = torch.cat([relative, rest], dim=1)
    return tokens, places, relative + torch.cat([patch_centres(GRID)[places], torch.zeros(count, 2)], dim=1)


def test_at_first_each_patch_votes_for_itself() -> None:
    boxes = BoxVotes(10, GRID)(torch.randn(2, 15, 10))
    assert boxes.shape == (2, 15, 4)
    assert boxes[0, 0].tolist() == [0.5, 0.5, 1.0, 1.0]
    assert boxes[1, 9].tolist() == [1.5, 4.5, 1.0, 1.0]
    assert boxes[1, 14].tolist() == [2.5, 4.5, 1.0, 1.0]


def test_fitted_votes_are_for_the_boxes_of_what_patches_show() -> None:
    votes = BoxVotes(10, GRID)
    votes.fit(*seen(2000, seed=1), seed=0)
    assert is_right(votes)
    assert not votes.first.requires_grad
    assert not list(votes.parameters())


def is_right(votes: BoxVotes) -> bool:
    tokens, places, boxes = seen(300, seed=2)
    # a picture whose patch at each token's place shows it
    pictures = torch.zeros(300, 15, 10)
    pictures[torch.arange(300), places] = tokens
    voted = votes(pictures)[torch.arange(300), places]
    error = (voted - boxes).abs().mean(0)
    return bool((error < 0.35 * boxes.std(0)).all())


def test_many_patches_take_more_steps_to_learn_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else most of a large data set's patches are never seen."""
    monkeypatch.setattr(box_votes, "STEPS", 5)
    monkeypatch.setattr(box_votes, "BATCH", 64)
    few, many = BoxVotes(10, GRID), BoxVotes(10, GRID)
    few.fit(*seen(64, seed=1), seed=0)
    many.fit(*seen(4000, seed=1), seed=0)
    assert not is_right(few)
    assert is_right(many)


def test_the_same_seed_learns_the_same() -> None:
    fitted = [BoxVotes(10, GRID) for _ in range(2)]
    for votes in fitted:
        votes.fit(*seen(200, seed=1), seed=5)
    assert torch.equal(fitted[0].first, fitted[1].first)
    assert torch.equal(fitted[0].second, fitted[1].second)


def test_sides_are_never_too_small_to_measure_by() -> None:
    votes = BoxVotes(10, GRID)
    votes.second_bias[2:] = -4.0
    assert (votes(torch.randn(1, 15, 10))[..., 2:] == SMALLEST).all()
