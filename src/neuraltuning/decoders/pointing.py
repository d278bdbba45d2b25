"""Where in an image a task token's state points, from the words it carries. Knows nothing of masks or tokens.

An addition to the papers' decoder, where a state only modulates image features and has to learn from very many masks
what "left of" is. Here the words of the state (see `Bridge`) are compared with the image's, the rest of the state
chooses among the places where they fit, and the decoder gets the outcome as further features. Where the image's patches
tell the boxes of what they show (`BoxVotes`), places are those of whole objects, and "bigger" can be told.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neuraltuning.decoders.base import StateShape

COARSE = 2
"""So many of the grids, from the first on, have pointers."""
POINTERS = 4
"""On each of these grids."""
HEAD_SIZE = 32
"""Entries of a key or query."""
HIDDEN_SIZE = 64
"""Of the perceptrons."""
LOWEST = 8.0
"""Logarithms of shares that are further below the highest than this are alike."""
MATCH_SCALE = 8.0
"""Brings the cosine similarities of words, which differ by tenths, to the size of other features."""
CENTRE_SHARPNESS = 1.5
"""Factor of matches where the centre of what a word is about is taken."""
TAUGHT = 0.5
"""Share of the masks in training whose decoder is shown where the mask is instead of where its state points."""
FAINTEST = 1e-5
"""Smallest share of a cell there."""
LEAST_SHARE = 1e-8
"""Shares count as no smaller where mentions are told apart."""
SMALLEST_SIDE = 0.1
"""Half image sides; boxes count as no smaller where places are told in their units."""
FARTHEST = 3.0
"""So many boxes away is as good as any farther place."""
APART = 4.0
"""Weight of the part that a mention has in what it and those before it point at."""
WITHIN = 3.0
"""Logits of a mask start positive where a cell's logarithm is at most so far below the highest."""


class Pointing(nn.Module):
    """Pointers on the coarse grids, and what every grid sees of them."""

    def __init__(self, channels: Sequence[int], state: StateShape, *, outlined: bool = False) -> None:
        """Makes untrained pointers.

        Args:
            channels: of each grid, coarse to fine.
            state: of a task token, with words.
            outlined: masks start from outlines, which need no `logits`.
        """
        super().__init__()
        self.selections = nn.ModuleList(Selection(c, state) for c in channels[:COARSE])
        self.foci = nn.ModuleList(Focus(c, channels[COARSE - 1], state.words) for c in channels)
        self.gain = None if outlined else nn.Parameter(torch.ones(()))
        self.within = None if outlined else nn.Parameter(torch.tensor(WITHIN))

    def pointers(
        self, images: Sequence[Tensor], owners: Tensor, free: Tensor, match: Tensor, boxes: Tensor
    ) -> list[Tensor]:
        """Points on each coarse grid.

        Args:
            images: for each grid (B, h, w, c) of the images; the fine grids aren't read.
            owners: (N,) int64, each state's image.
            free: (N, state.free) the states without their words.
            match: (N, K, rows, columns), see `word_match`.
            boxes: (B, 4, rows, columns), see `image_boxes`.

        Returns:
            (N, h, w, POINTERS) logarithms of the cells' shares, for each coarse grid.
        """
        return [s(image, owners, free, match, boxes) for s, image in zip(self.selections, images, strict=False)]

    def forward(
        self, images: Sequence[Tensor], owners: Tensor, match: Tensor, boxes: Tensor, pointers: Sequence[Tensor]
    ) -> list[Tensor]:
        """Features (N, h, w, c) for each grid; the arguments are those of `pointers`, and what it gave."""
        finest = images[COARSE - 1]
        share = mean_share(pointers)
        seed = torch.einsum("nhw,nhwc->nc", share, finest.index_select(0, owners))
        own = boxes[owners]
        box = torch.einsum("nhw,nchw->nc", share, F.interpolate(own, (share.shape[1], share.shape[2])))
        features = []
        for stage, (focus, image) in enumerate(zip(self.foci, images, strict=True)):
            features.append(focus(image, owners, match, own, pointers[min(stage, COARSE - 1)], share, seed, box))
        return features

    def logits(self, pointers: Sequence[Tensor], side: tuple[int, int]) -> Tensor:
        """(N, *side) what the pointers alone say of a mask: positive where they point, else negative."""
        assert self.gain is not None and self.within is not None
        relative = _relative(pointers[-1].logsumexp(-1, keepdim=True)).clamp_min(-LOWEST)
        return self.gain * (channels_last(relative, side)[..., 0] + self.within)

    def taught(self, pointers: Sequence[Tensor], truth: Tensor) -> list[Tensor]:
        """`pointers` with some replaced by the masks' own shares, truth (N, H, W) float.

        A decoder that sees pointers only while they err learns to hedge between all that a word fits; one that sees
        right ones learns to follow them, and knows of an object's extent sooner.
        """
        chosen = torch.rand(len(truth), device=truth.device)[:, None, None, None] < TAUGHT
        shown = []
        for pointing in pointers:
            share = _shares(truth, (pointing.shape[1], pointing.shape[2])).clamp_min(FAINTEST).log()
            shown.append(torch.where(chosen, share[..., None], pointing))
        return shown


class Selection(nn.Module):
    """The pointers of one grid.

    A *leaning* is a function of a cell with coefficients given by the state: linear in `cell_traits` and in the
    similarity of image features and state. "Left of the cat", "nearest to the cup", "the bigger one", "in the corner"
    and "red" are leanings. A *pointer* lets the cells compete for the sum of match and leaning, so that "the leftmost
    dog" is one of the dogs.
    """

    def __init__(self, channels: int, state: StateShape) -> None:
        super().__init__()
        self.n_traits = 8 * state.words + 7
        self.leanings = nn.Linear(state.free, POINTERS * self.n_traits)
        self.queries = nn.Linear(state.free, POINTERS * HEAD_SIZE)
        self.keys = nn.Linear(channels, HEAD_SIZE)
        self.match = nn.Linear(state.words, POINTERS)
        with torch.no_grad():  # what a state means is at first what its first words are about, class and attribute
            self.match.weight.zero_()[:, :2] = 1.0

    def forward(self, image: Tensor, owners: Tensor, free: Tensor, match: Tensor, boxes: Tensor) -> Tensor:
        """(N, h, w, POINTERS) logarithms of the cells' shares; see `Pointing.pointers`."""
        side = (image.shape[1], image.shape[2])
        coefficients = self.leanings(free).unflatten(-1, (POINTERS, self.n_traits))
        queries = self.queries(free).unflatten(-1, (POINTERS, HEAD_SIZE)) * HEAD_SIZE**-0.5
        leanings = torch.einsum("nhwf,npf->nhwp", cell_traits(match, boxes[owners], side), coefficients)
        leanings = leanings + torch.einsum("nhwd,npd->nhwp", self.keys(image).index_select(0, owners), queries)
        contest = self.match(channels_last(match, side)) + leanings
        return contest.flatten(1, 2).log_softmax(1).view_as(contest)


class Focus(nn.Module):
    """How each cell of one grid relates to what is pointed at: features for the decoder's stage."""

    def __init__(self, channels: int, seed_size: int, n_words: int) -> None:
        super().__init__()
        self.keys = nn.Linear(channels, HEAD_SIZE)
        self.queries = nn.Linear(seed_size, HEAD_SIZE)
        self.mlp = nn.Sequential(
            nn.Linear(n_words + 2 * POINTERS + 8, HIDDEN_SIZE), nn.GELU(), nn.Linear(HIDDEN_SIZE, channels)
        )

    def forward(
        self,
        image: Tensor,
        owners: Tensor,
        match: Tensor,
        boxes: Tensor,
        pointers: Tensor,
        share: Tensor,
        seed: Tensor,
        box: Tensor,
    ) -> Tensor:
        """(N, h, w, c) from what `Pointing` gets, the pointers' mean share (N, h', w') and what it picks.

        `boxes` is (N, 4, rows, columns); picked are features (N, c') and a box (N, 4).
        """
        side = (image.shape[1], image.shape[2])
        relative = _relative(pointers)
        y, x = _axis(side[0], match), _axis(side[1], match)
        dy = y - (share.sum(2) @ _axis(share.shape[1], match))[:, None]
        dx = x - (share.sum(1) @ _axis(share.shape[2], match))[:, None]
        dy, dx = dy[:, :, None].expand(-1, *side), dx[:, None, :].expand(-1, *side)
        similar = (
            torch.einsum("nhwd,nd->nhw", self.keys(image).index_select(0, owners), self.queries(seed)) * HEAD_SIZE**-0.5
        )
        centre, sides = box[:, :2, None, None], box[:, 2:, None, None].clamp_min(SMALLEST_SIDE)
        inside = (torch.stack([y[:, None].expand(side), x[None].expand(side)]) - centre) / sides
        voted = (F.interpolate(boxes[:, :2], side) - centre) / sides
        within = [inside[:, 0], inside[:, 1], inside.abs().amax(1), voted.norm(dim=1)]
        traits = torch.stack(
            [dy, dx, dy.square() + dx.square(), similar, *(w.clamp(-FARTHEST, FARTHEST) for w in within)], dim=-1
        )
        maps = [channels_last(m, side) for m in (match, relative.exp(), relative.clamp_min(-LOWEST) / LOWEST)]
        return self.mlp(torch.cat([*maps, traits], dim=-1))


def word_match(shown: Tensor, owners: Tensor, wanted: Tensor) -> Tensor:
    """How well image tokens (B, P, D) fit each state's words (N, K, D).

    (N, K, P) centred cosine similarities, times the words' lengths, which are at most 1 (see `Bridge`).
    """
    tokens = F.normalize(shown.float(), dim=-1)[owners]
    cosine = torch.einsum("npd,nkd->nkp", tokens, wanted)
    return (cosine - cosine.mean(-1, keepdim=True)) * MATCH_SCALE


def image_boxes(boxes: Tensor | None, like: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, P, 4) boxes in patches (`ImageFeatures.boxes`) -> (B, 4, *grid): y and x from the image's centre, height and
    width, in half image sides; without boxes each cell's own place, and no size.

    `like` (B, ...) gives the number of images and the device.
    """
    if boxes is None:
        y, x = _axis(grid[0], like), _axis(grid[1], like)
        nothing = y.new_zeros(grid)
        own = torch.stack([y[:, None].expand(grid), x[None].expand(grid), nothing, nothing])
        return own.expand(like.shape[0], 4, *grid)
    scale = 2.0 / torch.tensor([*grid, *grid], device=boxes.device)
    shift = torch.tensor([1.0, 1.0, 0.0, 0.0], device=boxes.device)
    return (boxes * scale - shift).unflatten(1, grid).permute(0, 3, 1, 2)


def cell_traits(match: Tensor, boxes: Tensor, side: tuple[int, int]) -> Tensor:
    """What tells cells apart by their places: (N, K, rows, columns) matches and (N, 4, rows, columns) boxes ->
    (N, *side, 8 K + 7).

    In half image sides: y and x from the centre of each word's match and the square of the distance from it; the
    amount of the match around the cell; y and x from the image's centre; 1. All but the amount and 1 also for the
    centre of the cell's box in place of its own, the box's sides, and the matches.
    """
    weights = (match.flatten(2) * CENTRE_SHARPNESS).softmax(-1).view_as(match)
    y, x = _axis(side[0], match), _axis(side[1], match)
    dy = y - (weights.sum(3) @ _axis(match.shape[2], match))[..., None]  # (N, K, h)
    dx = x - (weights.sum(2) @ _axis(match.shape[3], match))[..., None]
    dy, dx = dy[..., :, None].expand(-1, -1, *side), dx[..., None, :].expand(-1, -1, *side)
    amount = F.interpolate((match - match.amax((2, 3), keepdim=True)).exp(), side, mode="bilinear")
    around = F.avg_pool2d(amount, 5, stride=1, padding=2)
    n = match.shape[0]
    own = [y[:, None].expand(n, 1, *side), x[None, :].expand(n, 1, *side), torch.ones_like(dy[:, :1])]
    box = F.interpolate(boxes, side)
    by, bx = dy + (box[:, :1] - own[0]), dx + (box[:, 1:2] - own[1])
    voted = [by, bx, by.square() + bx.square(), box, F.interpolate(match, side, mode="bilinear")]
    return torch.cat([dy, dx, dy.square() + dx.square(), around, *own, *voted], dim=1).permute(0, 2, 3, 1)


def mean_share(pointers: Sequence[Tensor]) -> Tensor:
    """(N, h, w) each cell's share of what is pointed at, on the finest grid that has pointers."""
    return pointers[-1].mean(-1).flatten(1).softmax(1).view(pointers[-1].shape[:3])


def told_apart(pointers: Sequence[Tensor], replies: Tensor) -> list[Tensor]:
    """`pointers` that are kept off what earlier mentions of the same reply point at.

    Two mentions of one reply mean two objects, which a pointer that sees one mention doesn't know. To a cell's
    logarithm comes `APART` times that of the part that the mention has in the shares of all mentions up to it. Nothing
    depends on later ones, so that masks can be streamed.

    Args:
        pointers: (N, h, w, K) for each grid, as `Pointing.pointers` gives them.
        replies: (N,) int64, each mention's reply, whose mentions stand in its order.
    """
    heard = (replies[:, None] == replies).float().tril()
    apart = []
    for pointing in pointers:
        share = pointing.mean(-1).flatten(1).softmax(1).clamp_min(LEAST_SHARE)
        part = (share / (heard @ share)).log()
        contest = pointing.flatten(1, 2) + APART * part[..., None]
        apart.append(contest.log_softmax(1).view_as(pointing))
    return apart


def pointing_loss(pointers: Sequence[Tensor], truth: Tensor, grid: tuple[int, int]) -> Tensor:
    """The divergence of the pointers' shares from the mask's own over the cells, averaged: zero where they agree.

    Args:
        pointers: as `Pointing` gives them.
        truth: (N, H, W) float, masks.
        grid: rows and columns of the coarsest grid; each further one has twice as many.
    """
    losses = []
    for stage, pointing in enumerate(pointers):
        share = _shares(truth, (grid[0] * 2**stage, grid[1] * 2**stage))
        losses.append(F.kl_div(pointing.mean(-1), share, reduction="batchmean"))
    return torch.stack(losses).mean()


def _shares(truth: Tensor, side: tuple[int, int]) -> Tensor:
    """(N, H, W) masks -> (N, *side), each cell's share of the mask."""
    covered = F.adaptive_avg_pool2d(truth, side)
    return covered / covered.sum((1, 2), keepdim=True).clamp_min(1e-6)


def _relative(pointers: Tensor) -> Tensor:
    """(N, h, w, K) logarithms -> (N, K, h, w), relative to each pointer's highest cell."""
    return (pointers - pointers.amax((1, 2), keepdim=True)).permute(0, 3, 1, 2)


def channels_last(feature_map: Tensor, side: tuple[int, int]) -> Tensor:
    """(B, c, h, w) -> (B, *side, c) float32, resized where the map has another resolution."""
    feature_map = feature_map.float()
    if feature_map.shape[-2:] != side:
        feature_map = F.interpolate(feature_map, side, mode="bilinear", antialias=True)
    return feature_map.permute(0, 2, 3, 1)


def _axis(length: int, like: Tensor) -> Tensor:
    """The centres of `length` cells in half sides from the middle."""
    return (torch.arange(length, device=like.device) + 0.5) * (2.0 / length) - 1.0
