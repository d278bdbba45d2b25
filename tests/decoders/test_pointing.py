"""Pointing: words are found in the image, places are told apart by hand-worked numbers, and it learns to choose."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from neuraltuning.decoders.base import StateShape
from neuraltuning.decoders.mask import MaskDecoder
from neuraltuning.decoders.pointing import (
    APART,
    LOWEST,
    MATCH_SCALE,
    POINTERS,
    TAUGHT,
    WITHIN,
    Pointing,
    cell_traits,
    image_boxes,
    pointing_loss,
    told_apart,
    word_match,
)
from neuraltuning.encoders.base import ImageFeatures
from tests.decoders.test_mask import NO_MAPS

GRID = (4, 4)


# --- where words fit ----------------------------------------------------------------------------------------------


def test_a_word_fits_the_token_that_shows_it_in_its_own_image() -> None:
    shown = torch.stack([torch.eye(4), torch.eye(4).flip(0)]) * torch.tensor([0.1, 5.0, 1.0, 3.0])[:, None]
    wanted = torch.stack([torch.eye(4)[[2, 0]], torch.eye(4)[[1, 1]] * 0.5, torch.zeros(2, 4)])
    match = word_match(shown, torch.tensor([0, 1, 1]), wanted)
    assert match.shape == (3, 2, 4)
    # a cosine of 1 at one of four tokens, less its mean of 1/4: the tokens' lengths don't matter, the words' do
    for state, word, place, length in [(0, 0, 2, 1.0), (0, 1, 0, 1.0), (1, 0, 2, 0.5), (1, 1, 2, 0.5)]:
        expected = torch.full((4,), -0.25)
        expected[place] = 0.75
        torch.testing.assert_close(match[state, word], length * MATCH_SCALE * expected)
    assert not match[2].any()  # where there is no word, all places are alike


# --- places -------------------------------------------------------------------------------------------------------


def at(row: int, column: int) -> Tensor:
    """A match of one cell alone."""
    match = torch.full(GRID, -50.0)
    match[row, column] = 50.0
    return match


def test_the_traits_of_a_cell_are_its_place_from_the_words_and_from_the_middle() -> None:
    """Cells are half a half side large: their centres stand at -3/4, -1/4, 1/4, 3/4."""
    match = torch.stack([at(1, 0), at(3, 3)])[None]
    traits = cell_traits(match, image_boxes(None, match, GRID), GRID)
    assert traits.shape == (1, 4, 4, 8 * 2 + 7)
    n_own = 4 * 2 + 3
    # y from both words, x from both, squares of distances, amounts around, y and x from the middle, 1
    expected = {
        (1, 0): [0.0, -1.0, 0.0, -1.5, 0.0, 1.0 + 2.25, 0.04, 0.0, -0.25, -0.75, 1.0],
        (0, 2): [-0.5, -1.5, 1.0, -0.5, 0.25 + 1.0, 2.25 + 0.25, 0.04, 0.0, -0.75, 0.25, 1.0],
        (3, 3): [1.0, 0.0, 1.5, 0.0, 1.0 + 2.25, 0.0, 0.0, 0.04, 0.75, 0.75, 1.0],
    }
    for (row, column), values in expected.items():
        assert traits[0, row, column, :n_own].tolist() == pytest.approx(values, abs=1e-6), (row, column)
    # what votes for itself alone has the same places again, no size, and then the matches
    y_and_x = torch.cat([traits[..., :6], traits[..., 8:10]], dim=-1)
    torch.testing.assert_close(traits[..., n_own : n_own + 8], y_and_x)
    assert not traits[..., n_own + 8 : n_own + 10].any()
    torch.testing.assert_close(traits[..., -2:], match.permute(0, 2, 3, 1))


def test_cells_of_one_box_are_all_at_its_place() -> None:
    match = at(1, 0)[None, None]
    boxes = torch.zeros(1, 16, 4)
    boxes[0, [2, 3, 6]] = torch.tensor([1.0, 3.0, 2.0, 1.0])  # in patches: half a half side each
    traits = cell_traits(match, image_boxes(boxes, match, GRID), GRID)[0]
    # y and x from the word and the square of the distance from it, y and x from the middle, height and width, the match
    for row, column in ((0, 2), (0, 3), (1, 2)):
        expected = [-0.25, 1.25, 0.25**2 + 1.25**2, -0.5, 0.5, 1.0, 0.5, -50.0]
        assert traits[row, column, 7:].tolist() == pytest.approx(expected, abs=1e-6)


def test_a_word_that_fits_everywhere_has_its_centre_in_the_middle() -> None:
    match = torch.zeros(1, 1, *GRID)
    traits = cell_traits(match, image_boxes(None, match, GRID), GRID)
    torch.testing.assert_close(traits[..., :2], traits[..., 4:6])  # y and x from it and from the middle
    torch.testing.assert_close(traits[0, 0, 0, 3], torch.tensor(9 / 25))  # a corner has nine neighbours in the image


def test_finer_cells_are_measured_from_the_same_centre() -> None:
    match = at(1, 0)[None, None]
    traits = cell_traits(match, image_boxes(None, match, GRID), (8, 8))
    # the centre of the coarse cell, at -1/4 and -3/4, is the corner that four fine cells share
    torch.testing.assert_close(traits[0, 2:4, 0:2, 0], torch.tensor([[-0.125, -0.125], [0.125, 0.125]]))
    torch.testing.assert_close(traits[0, 2:4, 0:2, 1], torch.tensor([[-0.125, 0.125], [-0.125, 0.125]]))


# --- the loss -----------------------------------------------------------------------------------------------------


def shares(masses: Tensor, stages: int = 2) -> list[Tensor]:
    """Pointers that all give the cells of the coarsest grid these shares (N, h, w), evenly within each."""
    finer = [masses.repeat_interleave(2**s, 1).repeat_interleave(2**s, 2) / 4**s for s in range(stages)]
    return [mass.clamp_min(1e-9).log()[..., None].expand(*mass.shape, POINTERS) for mass in finer]


def mask(*boxes: tuple[slice, slice]) -> Tensor:
    """(1, 16, 16), so that a cell of the coarsest grid has four pixels a side."""
    made = torch.zeros(1, 16, 16)
    for rows, columns in boxes:
        made[:, rows, columns] = 1.0
    return made


def test_the_loss_is_the_divergence_from_the_masks_own_shares() -> None:
    truth = mask((slice(0, 4), slice(4, 8)), (slice(8, 12), slice(8, 12)))  # two whole cells
    own = torch.zeros(1, *GRID)
    own[0, 0, 1] = own[0, 2, 2] = 0.5
    assert float(pointing_loss(shares(own), truth, GRID)) == pytest.approx(0.0, abs=1e-5)
    # a part of the mass elsewhere costs -log of the part that stays
    elsewhere = torch.zeros(1, *GRID)
    elsewhere[0, 3, 0] = 1.0
    for away in (0.1, 0.5, 0.9):
        loss = pointing_loss(shares((1 - away) * own + away * elsewhere), truth, GRID)
        assert float(loss) == pytest.approx(-math.log(1 - away), abs=1e-4)
    # pointing anywhere: 16 cells instead of 2
    assert float(pointing_loss(shares(torch.full((1, *GRID), 1 / 16)), truth, GRID)) == pytest.approx(math.log(8))


def test_the_loss_is_the_mean_over_masks_of_any_size_and_an_empty_mask_asks_for_nothing() -> None:
    small, large = mask((slice(0, 4), slice(0, 4))), mask((slice(0, 16), slice(0, 8)))
    anywhere = torch.full((3, *GRID), 1 / 16)
    loss = pointing_loss(shares(anywhere), torch.cat([small, large, mask()]), GRID)
    assert float(loss) == pytest.approx((math.log(16) + math.log(2) + 0.0) / 3)


# --- learning to choose -------------------------------------------------------------------------------------------


STATE = StateShape(words=1, hidden_size=8, free=32)
DOG = torch.eye(8)[0]
LEFT = torch.tensor([1.0, -1.0]).repeat(16)


def two_dogs(count: int, seed: int) -> tuple[Tensor, ImageFeatures, Tensor, Tensor]:
    """Images with two dogs, left and right of each other, on a ground of anything else, and a state for each dog.

    Returns:
        states, features, owners and targets, as `MaskDecoder.fit` takes them: the left dog and the right dog by turns.
    """
    generator = torch.Generator().manual_seed(seed)
    words = torch.randn(count, 16, 8, generator=generator)
    words[..., 0] = 0.0
    targets = torch.zeros(2 * count, *(16 * side for side in GRID), dtype=torch.uint8)
    for image in range(count):
        columns = torch.randperm(4, generator=generator)[:2].sort().values.tolist()
        for dog, column in enumerate(columns):
            row = int(torch.randint(4, (1,), generator=generator))
            words[image, 4 * row + column] = 3.0 * DOG
            targets[2 * image + dog, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16] = 255
    tokens = torch.randn(count, 16, NO_MAPS.token_size, generator=generator)
    free = 0.5 * torch.randn(2 * count, 32, generator=generator)
    free += torch.tensor([1.0, -1.0]).repeat(count)[:, None] * LEFT
    states = torch.cat([DOG.expand(2 * count, 8), free], 1)
    owners = torch.arange(count).repeat_interleave(2)
    return states, ImageFeatures(tokens, (), words=words), owners, targets


def pointer_loss(decoder: MaskDecoder, toy: tuple[Tensor, ImageFeatures, Tensor, Tensor]) -> float:
    with torch.no_grad():
        return float(decoder.loss(*toy)["mask_pointing"])


def fresh() -> MaskDecoder:
    torch.manual_seed(0)
    return MaskDecoder(
        state=STATE, encoder=NO_MAPS, channels=(32,) * 4, attention_layers=(0, 0, 0), pointing_weight=1.0
    )


def test_fitted_pointers_choose_by_the_state_among_the_places_that_fit() -> None:
    decoder = fresh()
    states, features, owners, targets = test = two_dogs(16, seed=2)
    other = (states, features, owners, targets.unflatten(0, (-1, 2)).flip(1).flatten(0, 1))
    assert abs(pointer_loss(decoder, test) - pointer_loss(decoder, other)) < 0.5
    decoder.fit(*two_dogs(200, seed=1))
    assert pointer_loss(decoder, test) < 0.5
    assert pointer_loss(decoder, other) > 2.0
    assert all(p.grad is None for p in decoder.parameters())


def test_fitting_changes_nothing_else_and_passes_over_images_that_nothing_is_asked_of() -> None:
    decoder = fresh()
    before = {name: p.clone() for name, p in decoder.state_dict().items()}
    states, features, owners, targets = two_dogs(24, seed=1)
    asked = owners < 2
    decoder.fit(states[asked], features, owners[asked], targets[asked])
    changed = {name for name, p in decoder.state_dict().items() if not torch.equal(p, before[name])}
    assert all(p.isfinite().all() for p in decoder.state_dict().values())
    assert "pointing.selections.0.leanings.weight" in changed
    assert {name.split(".")[0] for name in changed} == {"pointing", "tokens", "place"}
    assert not any(name.startswith("pointing.foci") for name in changed)


# --- what the mask decoder makes of them --------------------------------------------------------------------------


def pointers_at(row: int, column: int, count: int = 1) -> list[Tensor]:
    """Pointers that are sure of one cell of the 4x4 grid, and of the four of the 8x8 grid that lie in it."""
    coarse = torch.full((count, *GRID, POINTERS), -50.0)
    coarse[:, row, column] = 0.0
    fine = coarse.repeat_interleave(2, 1).repeat_interleave(2, 2)
    return [coarse, fine - math.log(4.0) * (fine > -1.0)]


def test_a_masks_logits_start_where_the_pointers_point() -> None:
    logits = Pointing((32, 32, 32, 32), StateShape(words=2, hidden_size=8, free=16)).logits(pointers_at(1, 2), (8, 8))
    inside = torch.zeros(8, 8, dtype=torch.bool)
    inside[2:4, 4:6] = True
    torch.testing.assert_close(logits[0][inside], torch.full((4,), WITHIN))
    torch.testing.assert_close(logits[0][~inside], torch.full((60,), WITHIN - LOWEST))


def test_some_masks_are_taught_by_the_truth() -> None:
    torch.manual_seed(0)
    count = 400
    truth = torch.zeros(count, 16, 16)
    truth[:, :8, :8] = 1.0
    pointing = Pointing((32, 32, 32, 32), StateShape(words=2, hidden_size=8, free=16))
    pointers = pointers_at(3, 3, count)
    shown = pointing.taught(pointers, truth)
    replaced = [(a != b).flatten(1).any(1) for a, b in zip(shown, pointers, strict=True)]
    assert torch.equal(*replaced)  # on every grid the same masks
    assert abs(float(replaced[0].float().mean()) - TAUGHT) < 0.1
    for grid, cells in zip(shown, (4, 16), strict=True):
        shares = grid[replaced[0]].exp()
        side = shares.shape[1]
        torch.testing.assert_close(
            shares[:, : side // 2, : side // 2], torch.full_like(shares[:, : side // 2, : side // 2], 1.0 / cells)
        )
        assert shares[:, side // 2 :].max() < 1e-4


def test_the_truth_is_shown_in_training_alone() -> None:
    decoder = MaskDecoder(state=StateShape(words=2, hidden_size=8, free=16), encoder=NO_MAPS)
    states = torch.randn(6, decoder.state.size, generator=torch.Generator().manual_seed(3))
    targets = torch.zeros(6, *decoder.target_side, dtype=torch.uint8)
    targets[:, :20, :20] = 255

    def dice(mode: bool) -> list[float]:
        decoder.train(mode)
        with torch.no_grad():
            owners = torch.zeros(6, dtype=torch.int64)
            return [float(decoder.loss(states, NO_MAPS.features(1), owners, targets)["mask_dice"]) for _ in range(4)]

    assert len(set(dice(True))) > 1
    assert len(set(dice(False))) == 1


# --- mentions of one reply ----------------------------------------------------------------------------------------


def pointed(*shares: tuple[float, float]) -> list[Tensor]:
    """Pointers of mentions at two cells, the same on each of `POINTERS`."""
    logarithms = torch.tensor(shares).log().log_softmax(1)
    return [logarithms[:, None, :, None].expand(-1, 1, 2, POINTERS).contiguous()]


def cell_shares(pointers: list[Tensor]) -> Tensor:
    return pointers[0].exp().mean(-1)[:, 0]


def test_a_mention_leaves_what_an_earlier_one_of_its_reply_points_at() -> None:
    """The second leans a little to the first one's object, and gets the other."""
    apart = cell_shares(told_apart(pointed((0.98, 0.02), (0.6, 0.4)), torch.tensor([7, 7])))
    torch.testing.assert_close(apart[0], torch.tensor([0.98, 0.02]))
    # parts of 0.6 / 1.58 and 0.4 / 0.42 of the cells, to the power of APART
    near, far = 0.6 * (0.6 / 1.58) ** APART, 0.4 * (0.4 / 0.42) ** APART
    torch.testing.assert_close(apart[1], torch.tensor([near, far]) / (near + far))
    assert apart[1, 1] > 0.9


def test_mentions_of_other_replies_and_later_ones_change_nothing() -> None:
    mentions = pointed((0.9, 0.1), (0.8, 0.2), (0.7, 0.3), (0.9, 0.1))
    apart = cell_shares(told_apart(mentions, torch.tensor([1, 0, 1, 0])))
    torch.testing.assert_close(apart[:2], cell_shares(mentions)[:2])
    for reply in ([0, 2], [1, 3]):
        alone = told_apart([mentions[0][reply]], torch.zeros(2, dtype=torch.int64))
        torch.testing.assert_close(apart[reply], cell_shares(alone))


def test_a_mention_that_is_sure_stays_where_an_unsure_one_was() -> None:
    apart = cell_shares(told_apart(pointed((0.5, 0.5), (1.0 - 1e-6, 1e-6)), torch.tensor([0, 0])))
    assert apart[1, 0] > 0.99


def test_shares_of_nothing_stay_finite() -> None:
    apart = told_apart(
        [torch.tensor([[[[0.0], [-900.0]]]]).expand(3, 1, 2, POINTERS)], torch.zeros(3, dtype=torch.int64)
    )
    assert apart[0].isfinite().all()
