"""Features of images, some of them and several batches as one."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from neuraltuning.encoders.base import ImageFeatures


def features() -> ImageFeatures:
    """Of three images; every entry tells whose it is."""
    whose = torch.arange(3.0)
    maps = (whose.view(3, 1, 1, 1).expand(3, 2, 8, 8), whose.view(3, 1, 1, 1).expand(3, 5, 4, 4))
    return ImageFeatures(
        whose.view(3, 1, 1).expand(3, 6, 7), maps, whose.view(3, 1).expand(3, 9), whose.view(3, 1, 1).expand(3, 6, 10)
    )


def tensors(found: ImageFeatures) -> list[Tensor]:
    return [found.tokens, *found.maps, *(t for t in (found.embedding, found.words) if t is not None)]


def test_selected_images_keep_all_their_features() -> None:
    some = features().select(torch.tensor([2, 0, 2, 2]))
    assert [t.shape[1:] for t in tensors(some)] == [t.shape[1:] for t in tensors(features())]
    for tensor in tensors(some):
        assert tensor.flatten(1).unique(dim=1).flatten().tolist() == [2, 0, 2, 2]
    without = replace(features(), words=None, embedding=None).select(torch.tensor([1]))
    assert without.words is None and without.embedding is None
    assert ImageFeatures.join([without, without]).embedding is None
    assert len(without.maps) == 2


def test_joined_batches_give_the_images_one_after_the_other() -> None:
    parts = [features().select(torch.tensor(index)) for index in ([1], [0, 2])]
    joined = ImageFeatures.join(parts)
    for ours, theirs in zip(tensors(joined), tensors(features().select(torch.tensor([1, 0, 2]))), strict=True):
        assert torch.equal(ours, theirs)
    assert ImageFeatures.join([replace(part, words=None) for part in parts]).words is None
    no_maps = ImageFeatures.join([replace(part, maps=()) for part in parts])
    assert no_maps.maps == ()
    assert no_maps.words is not None
