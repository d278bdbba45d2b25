"""Outlines: they are learned from images of objects, of any kind of encoder, and pointers choose among them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from neuraltuning.decoders.outlines import OutlineFit, Outlines
from neuraltuning.encoders.base import ImageFeatures

GRID, SIDE = (4, 4), 32
LEFT, RIGHT = (slice(4, 20), slice(2, 12)), (slice(8, 28), slice(18, 30))


def rectangle(place: tuple[slice, slice]) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask[place] = True
    return mask


def box(place: tuple[slice, slice]) -> Tensor:
    rows, columns = place
    centres = [(rows.start + rows.stop) / 2, (columns.start + columns.stop) / 2]
    return torch.tensor([*centres, rows.stop - rows.start, columns.stop - columns.start]) / SIDE


def drawn(*places: tuple[slice, slice]) -> Tensor:
    """(1, SIDE, SIDE, 5) what was wholly learned of an image of objects at some places."""
    outlines = torch.full((1, SIDE, SIDE, 5), 0.5)
    outlines[..., 0] = -6.0
    for rows, columns in places:
        outlines[0, rows, columns] = torch.cat([torch.tensor([6.0]), box((rows, columns))])
    return outlines


def share_of(*cells: tuple[int, int]) -> Tensor:
    share = torch.zeros(1, 8, 8)
    for row, column in cells:
        share[0, row, column] = 1.0 / len(cells)
    return share


def images(count: int, maps: bool) -> tuple[ImageFeatures, list[list[np.ndarray]]]:
    """Images of one or two rectangles that the encoder sees on its grid, and in its maps if it has some."""
    rng = np.random.default_rng(0)
    fine, masks = torch.zeros(count, 6, SIDE, SIDE), []
    for number in range(count):
        own = []
        for half in range(int(rng.integers(1, 3))):
            top, left = int(rng.integers(0, 12)), 16 * half + int(rng.integers(0, 4))
            rows = slice(top, top + int(rng.integers(10, 20)))
            columns = slice(left, left + int(rng.integers(8, 12)))
            own.append(rectangle((rows, columns)))
            fine[number, 0, rows, columns] = 1.0
            fine[number, 1:5, rows, columns] = box((rows, columns))[:, None, None]
        masks.append(own)
    fine[:, 5] = torch.linspace(-1.0, 1.0, SIDE)
    coarse = torch.nn.functional.adaptive_avg_pool2d(fine, GRID)
    tokens = coarse.flatten(2).transpose(1, 2)
    return ImageFeatures(tokens, (fine, coarse) if maps else ()), masks


def network(maps: bool) -> Outlines:
    torch.manual_seed(0)
    # the finer map lies on the next grid, to which it is scaled down
    return Outlines(6, [6, 6, 0, 0] if maps else [0, 0, 0, 0], GRID, 32)


@pytest.mark.parametrize("maps", [True, False], ids=["maps", "tokens alone"])
def test_objects_and_their_boxes_are_learned_from_masks(maps: bool) -> None:
    features, masks = images(640, maps)
    outlines = network(maps)
    fit = OutlineFit(outlines, 600)
    for start in range(0, 600, 30):
        fit(features.select(torch.arange(start, start + 30)), masks[start : start + 30])
    with torch.no_grad():
        found = outlines(features.select(torch.arange(600, 640)))
    assert found.shape == (40, SIDE, SIDE, 5)
    shown = torch.from_numpy(np.stack([np.any(own, axis=0) for own in masks[600:]]))
    said = found[..., 0] > 0
    assert float((said & shown).sum() / (said | shown).sum()) > (0.8 if maps else 0.7)
    errors = [
        (found[i][torch.from_numpy(mask)][:, 1:] - box_of(mask)).abs().mean()
        for i, own in enumerate(masks[600:])
        for mask in own
    ]
    assert float(torch.stack(errors).mean()) < 0.07


def box_of(mask: np.ndarray) -> Tensor:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return box((slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)))


def test_images_without_objects_teach_nothing() -> None:
    outlines = network(True)
    before = {name: tensor.clone() for name, tensor in outlines.state_dict().items()}
    features, masks = images(3, True)
    fit = OutlineFit(outlines, 3)
    fit(features, [[], [], []])
    assert all(torch.equal(tensor, before[name]) for name, tensor in outlines.state_dict().items())
    fit(features, [[], masks[1], []])
    assert not torch.equal(outlines.out.weight, before["out.weight"])


def test_a_pointer_chooses_its_objects_cells() -> None:
    """Of two objects the one pointed at, wherever on it, and never the background that is pointed at beside it."""
    outlines = network(True)
    for place, other, cells in ((LEFT, RIGHT, [(3, 1)]), (RIGHT, LEFT, [(2, 6)]), (RIGHT, LEFT, [(6, 5), (0, 7)])):
        logits = outlines.logits(drawn(LEFT, RIGHT), torch.tensor([0]), share_of(*cells))[0]
        assert (logits[place] > 2.5).all()
        assert (logits[other] < -2.5).all()
        assert ((logits > 0).sum()) == rectangle(place).sum()


def test_each_pointer_reads_its_own_image() -> None:
    outlines = network(True)
    both = torch.cat([drawn(LEFT), drawn(RIGHT)])
    logits = outlines.logits(both, torch.tensor([1, 0]), torch.cat([share_of((4, 6)), share_of((3, 1))]))
    assert ((logits > 0).numpy() == np.stack([rectangle(RIGHT), rectangle(LEFT)])).all()
