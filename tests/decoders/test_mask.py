"""The mask decoder: it learns, masks don't touch each other, and every grid and size works, with words and without."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from neuraltuning.decoders import pointing
from neuraltuning.decoders.base import StateShape
from neuraltuning.decoders.mask import MaskDecoder, SelfAttentionLayer
from neuraltuning.encoders.base import ImageEncoder, ImageFeatures
from neuraltuning.errors import InputError

PLAIN = StateShape(words=0, hidden_size=8, free=16)
WORDED = StateShape(words=2, hidden_size=8, free=16)
STATES = {"plain": PLAIN, "worded": WORDED}
CHANNELS = 12


class Shapes(ImageEncoder):
    """Declares the shapes of an encoder's features; the decoder needs no more of it."""

    name = "shapes"
    token_size = CHANNELS

    def __init__(self, grid: tuple[int, int], map_sides: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        self.grid = grid
        self.map_shapes = tuple((6 + i, *side) for i, side in enumerate(map_sides))

    def preprocess(self, images: Sequence[Image.Image]) -> Tensor:
        raise NotImplementedError

    def forward(self, pixel_values: Tensor, *, embedding: bool = False) -> ImageFeatures:
        raise NotImplementedError

    def features(self, count: int, seed: int = 0) -> ImageFeatures:
        """Random features of some images."""
        generator = torch.Generator().manual_seed(seed)
        rows, columns = self.grid
        tokens = torch.randn(count, rows * columns, CHANNELS, generator=generator)
        maps = tuple(torch.randn(count, *shape, generator=generator) for shape in self.map_shapes)
        words = torch.randn(count, rows * columns, WORDED.hidden_size, generator=generator)
        return ImageFeatures(tokens, maps, words=words)


EFFICIENTNET = Shapes((7, 7), [(28, 28), (14, 14), (7, 7)])
CLIP = Shapes((16, 16), [(16, 16)] * 3)
SMALL = Shapes((4, 4), [(16, 16), (8, 8), (4, 4)])
OBLONG = Shapes((3, 5), [(6, 10), (3, 5)])
NO_MAPS = Shapes((4, 4), [])
MANY_MAPS = Shapes((4, 4), [(64, 64), (32, 32), (16, 16), (8, 8), (4, 4)])
PRIME = Shapes((17, 17), [(17, 17)] * 3)
SHAPES = {
    "efficientnet": EFFICIENTNET,
    "clip": CLIP,
    "small": SMALL,
    "oblong": OBLONG,
    "no maps": NO_MAPS,
    "many maps": MANY_MAPS,
    "prime": PRIME,
}


def build(shapes: Shapes = SMALL, state: StateShape = PLAIN, **settings: Any) -> MaskDecoder:
    """A decoder, with outlines where the state has words for its pointers to choose them by."""
    torch.manual_seed(0)
    outlines = 16 if state.words else 0
    settings = {"channels": (64, 32, 32, 32), "attention_layers": (1, 1, 0), "outlines": outlines, **settings}
    return MaskDecoder(state=state, encoder=shapes, **settings).eval()


def states(count: int, shape: StateShape = PLAIN, seed: int = 1) -> Tensor:
    return torch.randn(count, shape.size, generator=torch.Generator().manual_seed(seed))


def rectangle(rows: slice, columns: slice, size: tuple[int, int] = (40, 60)) -> np.ndarray:
    mask = np.zeros(size, dtype=bool)
    mask[rows, columns] = True
    return mask


def decode(
    decoder: MaskDecoder, state: Tensor, features: ImageFeatures, owners: list[int], size: tuple[int, int] = (40, 60)
) -> list[tuple[np.ndarray, float]]:
    return decoder.decode(state, features, torch.tensor(owners), [size] * len(state), [0] * len(state))


@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
@pytest.mark.parametrize("shapes", SHAPES.values(), ids=SHAPES)
def test_masks_have_eight_times_the_grids_resolution(shapes: Shapes, state: StateShape) -> None:
    decoder = build(shapes, state)
    rows, columns = shapes.grid
    logits = decoder(states(3, state), shapes.features(2), torch.tensor([0, 1, 1]))
    assert logits.shape == (3, 8 * rows, 8 * columns)
    assert torch.isfinite(logits).all()
    assert logits.std() > 0


@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
@pytest.mark.parametrize("shapes", [CLIP, MANY_MAPS, OBLONG], ids=["clip", "many maps", "oblong"])
def test_the_papers_nine_attention_layers_learn(
    shapes: Shapes, state: StateShape, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pointing, "TAUGHT", 0.0)
    decoder = build(shapes, state, channels=(32, 32, 32, 32), attention_layers=(3, 3, 3)).train()
    assert sum(isinstance(module, SelfAttentionLayer) for module in decoder.modules()) == 9
    target = torch.from_numpy(decoder.encode_target(rectangle(slice(5, 20), slice(9, 50)))[None])
    decoder.loss(states(1, state), shapes.features(1), torch.tensor([0]), target)["mask_dice"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in decoder.parameters())
    idle = {name for name, p in decoder.named_parameters() if not p.grad.any()}
    # where untrained outlines agree on no box, no cell belongs to what is pointed at
    idle -= {"outlines.within", "outlines.sharpness"}
    # where the encoder has no map for a grid, there is nothing to be compared with the seed
    assert all(".foci." in name and shapes is not MANY_MAPS for name in idle), idle


def test_two_masks_of_one_image_are_learnt_apart() -> None:
    """The state alone says which of them is meant."""
    decoder = build(bce_weight=1.0).train()
    features, state = SMALL.features(1), states(2)
    wanted = [rectangle(slice(4, 20), slice(5, 25)), rectangle(slice(22, 38), slice(30, 58))]
    targets = torch.from_numpy(np.stack([decoder.encode_target(mask) for mask in wanted]))
    owners = torch.tensor([0, 0])
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        loss = sum(decoder.loss(state, features, owners, targets).values())
        assert isinstance(loss, Tensor)
        loss.backward()
        optimizer.step()
    found = decode(decoder.eval(), state, features, [0, 0])
    for (mask, score), true, other in zip(found, wanted, wanted[::-1], strict=True):
        assert mask.shape == true.shape
        assert mask.dtype == np.bool_
        assert (mask & true).sum() / (mask | true).sum() > 0.75
        assert not (mask & other).any()
        assert 0.8 < score <= 1.0


def test_two_images_with_one_state_are_learnt_apart() -> None:
    """The image alone says where the object is."""
    decoder = build(bce_weight=1.0).train()
    features, state = SMALL.features(2), states(1).expand(2, -1)
    wanted = [rectangle(slice(4, 20), slice(5, 25)), rectangle(slice(22, 38), slice(30, 58))]
    targets = torch.from_numpy(np.stack([decoder.encode_target(mask) for mask in wanted]))
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        sum(decoder.loss(state, features, torch.tensor([0, 1]), targets).values()).backward()
        optimizer.step()
    found = decode(decoder.eval(), state, features, [0, 1])
    assert all((mask & true).sum() / (mask | true).sum() > 0.75 for (mask, _), true in zip(found, wanted, strict=True))


@pytest.mark.parametrize("shape", STATES.values(), ids=STATES)
@pytest.mark.parametrize("shapes", [SMALL, CLIP, EFFICIENTNET, PRIME], ids=["small", "clip", "efficientnet", "prime"])
def test_a_mask_depends_on_its_own_state_and_image_alone(shapes: Shapes, shape: StateShape) -> None:
    decoder = build(shapes, shape, attention_layers=(1, 1, 1))
    features, state, owners = shapes.features(3), states(4, shape), [2, 0, 0, 1]
    together = decoder(state, features, torch.tensor(owners))
    for number, owner in enumerate(owners):
        alone = decoder(state[number : number + 1], features.select(torch.tensor([owner])), torch.tensor([0]))
        torch.testing.assert_close(together[number], alone[0], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(together[1], together[2])


@pytest.mark.parametrize("shape", STATES.values(), ids=STATES)
def test_masks_of_a_reply_are_the_same_one_after_the_other(shape: StateShape) -> None:
    """As a server asks for them, which streams each as soon as its token is there."""
    decoder = build(state=shape)
    features, given, sizes = SMALL.features(1), states(3, shape), [(40, 60), (8, 8), (30, 20)]
    nothing = torch.zeros(3, dtype=torch.int64)
    together = decoder.decode(given, features, nothing, sizes, [0] * 3, nothing)
    for n in range(3):
        [(mask, score)] = decoder.decode(
            given[: n + 1], features, nothing[: n + 1], sizes[: n + 1], [0] * (n + 1), nothing[: n + 1], known=n
        )
        assert np.array_equal(mask, together[n][0])
        assert score == pytest.approx(together[n][1], abs=1e-5)


def test_mentions_tell_each_other_apart_within_one_reply_alone() -> None:
    decoder = build(state=WORDED)
    features, two, owners = SMALL.features(1), states(2, WORDED), torch.zeros(2, dtype=torch.int64)
    in_two = decoder(two, features, owners, torch.tensor([0, 1]))
    in_one = decoder(two, features, owners, torch.tensor([0, 0]))
    torch.testing.assert_close(in_two, decoder(two, features, owners))
    torch.testing.assert_close(in_one[0], in_two[0])
    assert not torch.allclose(in_one[1], in_two[1], atol=1e-3)


def test_masks_come_at_each_images_size_right_way_up() -> None:
    decoder = build()
    sizes = [(40, 60), (1, 1), (300, 7), (224, 224)]
    found = decoder.decode(states(4), SMALL.features(1), torch.zeros(4, dtype=torch.int64), sizes, [0] * 4)
    assert [mask.shape for mask, _ in found] == sizes
    # a target and a mask agree about rows and columns
    target = decoder.encode_target(rectangle(slice(0, 10), slice(0, 60)))
    assert target.shape == decoder.target_side == (64, 64)
    assert (target[:15] == 255).all()
    assert (target[17:] == 0).all()


def test_a_target_holds_the_share_of_each_cell() -> None:
    target = build().encode_target(rectangle(slice(0, 128), slice(0, 97), (128, 128)))
    assert target.dtype == np.uint8
    assert set(np.unique(target[:, 48])) == {128}  # half of this column of cells is covered
    assert (target[:, :48] == 255).all()
    assert (target[:, 49:] == 0).all()
    assert float(target.mean()) / 255 == pytest.approx(97 / 128, abs=0.01)


def test_the_score_is_the_mean_probability_inside_the_mask() -> None:
    decoder = build()
    features, state = SMALL.features(1), states(1)
    with torch.no_grad():
        decoder.out.bias.fill_(1.0)
        logits = decoder(state, features, torch.tensor([0]))
        [(mask, score)] = decode(decoder, state, features, [0], (32, 32))
    assert mask.any()
    assert score == pytest.approx(float(logits[0].sigmoid()[torch.from_numpy(mask)].mean()), abs=1e-5)
    np.testing.assert_array_equal(mask, (logits[0] > 0).numpy())


def test_an_empty_mask_has_no_confidence() -> None:
    decoder = build()
    with torch.no_grad():
        decoder.out.bias.fill_(-50.0)
    [(mask, score)] = decode(decoder, states(1), SMALL.features(1), [0])
    assert not mask.any()
    assert score == 0.0


@pytest.mark.parametrize(("dice", "bce", "names"), [(1.0, 0.0, {"mask_dice"}), (0.0, 2.0, {"mask_bce"})])
def test_the_losses_are_those_of_the_papers(dice: float, bce: float, names: set[str]) -> None:
    """DICE per mask, averaged; cross-entropy over pixels; each times its weight, against a plain computation."""
    decoder = build(dice_weight=dice, bce_weight=bce)
    features, state, owners = SMALL.features(2), states(3), torch.tensor([0, 1, 1])
    masks = [rectangle(slice(i, 12 + 5 * i), slice(3 * i, 30)) for i in range(3)]
    targets = np.stack([decoder.encode_target(mask) for mask in masks])
    with torch.no_grad():
        losses = decoder.loss(state, features, owners, torch.from_numpy(targets))
        logits = decoder(state, features, owners)
        large = torch.nn.functional.interpolate(logits[None], (64, 64), mode="bilinear")[0]
    assert set(losses) == names
    p, t = large.double().sigmoid().numpy(), targets / 255.0
    if dice:
        each = [1 - (2 * (p[i] * t[i]).sum() + 1) / (p[i].sum() + t[i].sum() + 1) for i in range(3)]
        assert float(losses["mask_dice"]) == pytest.approx(np.mean(each), rel=1e-4)
    else:
        plain = -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean()
        assert float(losses["mask_bce"]) == pytest.approx(2.0 * plain, rel=1e-4)


def test_the_words_of_the_image_decide_where_the_state_has_words() -> None:
    features, shuffled = SMALL.features(1), SMALL.features(1)
    assert features.words is not None
    shuffled.words = features.words.flip(1)
    for shape in (PLAIN, WORDED):
        decoder, owner = build(state=shape), torch.tensor([0])
        one, other = (decoder(states(1, shape), seen, owner) for seen in (features, shuffled))
        assert torch.equal(one, other) == (shape is PLAIN)


def test_pointing_is_taught_where_the_state_has_words_with_the_weight_that_is_set() -> None:
    target = torch.from_numpy(build().encode_target(rectangle(slice(4, 20), slice(5, 25)))[None])

    def losses(shape: StateShape, weight: float) -> dict[str, Tensor]:
        decoder = build(state=shape, pointing_weight=weight)
        return decoder.loss(states(1, shape), SMALL.features(1), torch.tensor([0]), target)

    assert losses(PLAIN, 1.0).keys() == losses(WORDED, 0.0).keys() == {"mask_dice"}
    light, heavy = losses(WORDED, 0.1), losses(WORDED, 0.3)
    torch.testing.assert_close(heavy["mask_pointing"], 3.0 * light["mask_pointing"])
    torch.testing.assert_close(heavy["mask_dice"], light["mask_dice"])
    assert light["mask_pointing"] > 0


def test_an_object_of_no_image_is_refused() -> None:
    with pytest.raises(InputError, match=r"no image was given; .*\.$"):
        build().decode(states(1), None, None, [], [0])


@pytest.mark.parametrize(
    "settings",
    [{"channels": (32, 32)}, {"attention_layers": (1, 1)}, {"channels": (32, 32, 32, 20)}, {"outlines": 16}],
    ids=str,
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"\.$"):
        build(**settings)


@pytest.mark.parametrize("shape", STATES.values(), ids=STATES)
def test_half_precision_features_are_taken(shape: StateShape) -> None:
    full = SMALL.features(1)
    assert full.words is not None
    half = ImageFeatures(full.tokens.bfloat16(), tuple(m.bfloat16() for m in full.maps), words=full.words.bfloat16())
    logits = build(state=shape)(states(1, shape).bfloat16(), half, torch.tensor([0]))
    assert logits.dtype == torch.float32
