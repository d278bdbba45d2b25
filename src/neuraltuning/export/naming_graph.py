"""`Naming` written with tensor operations alone, so that it can be traced into a graph.

The model itself groups patches with scipy and writes the descriptions in plain Python. Here the same is done for a
batch of images at once: complete-linkage clustering in a loop of the graph, everything else by comparisons. Where two
distances are exactly equal the two may merge different pairs first. Knows nothing of ONNX.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neuraltuning.naming import CONFIDENCE, NOTHING, UNLIKELY, Description, Naming
from neuraltuning.same_object import pair_features, witnesses

NO_TOKEN = -1
"""Fills up spellings."""
MIDDLE = 9
"""Where `NamingGraph.ranks` has the words for the middle one, behind none, those of pairs and those of ends."""


class NamingGraph(nn.Module):
    """Describes what images show, as the `Naming` does that it is made from."""

    places: Tensor
    ranks: Tensor
    around: Tensor

    def __init__(self, naming: Naming) -> None:
        super().__init__()
        self.naming = naming
        wording = naming.wording
        self.register_buffer("places", _table([place for row in wording.places for place in row]), persistent=False)
        ranks = [(), *wording.pair[0], *wording.pair[1], *wording.ends[0], *wording.ends[1], wording.middle]
        self.register_buffer("ranks", _table([*ranks, *wording.inner]), persistent=False)
        self.register_buffer("around", torch.tensor(list(wording.background)), persistent=False)

    def forward(self, tokens: Tensor) -> Description:
        """(B, P, C) float, row-major over the grid -> what `Naming` says of it."""
        classes, attributes, boxes = self.naming.read(tokens)
        shown = classes.argmax(-1) != NOTHING
        centres, counted = self.naming.votes.centres, witnesses(tokens.shape[1])
        kinds, weights = classes[..., NOTHING + 1 :], shown[:, counted].float()
        features = pair_features(kinds, attributes, boxes, centres, counted, weights)
        groups = merged(1.0 - self.naming.same(features), shown, 1.0 - UNLIKELY)
        members = shown[:, None] & (groups[:, None] == _places(groups)[:, None])  # (B, G, P): G as many as patches
        sizes = members.sum(-1)
        shares = members / sizes.clamp_min(1)[..., None]
        things = (*self._spellings(shares, members, classes, attributes, boxes), shares)
        ids, shares = self._written(*_joined(things, self._background(tokens, ~shown)))
        return Description(ids, shares, classes, attributes, boxes)

    def _spellings(
        self, shares: Tensor, members: Tensor, classes: Tensor, attributes: Tensor, boxes: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Each group's token ids (B, G, K), filled up with `NO_TOKEN`, where it is listed (B, G), and whether."""
        naming = self.naming
        kind = (shares @ classes)[..., NOTHING + 1 :].argmax(-1) + NOTHING + 1
        probabilities = classes.mT.gather(1, kind[..., None].expand(members.shape))
        described = members.any(-1) & ((probabilities * members).amax(-1) >= CONFIDENCE)
        centres = shares @ boxes[..., :2]
        varied = naming.varied[kind][..., None]
        attribute = naming.attributes.pieces[(shares @ attributes).argmax(-1)].masked_fill(~varied, NO_TOKEN)
        centres = centres / torch.tensor(naming.grid, dtype=centres.dtype)
        thirds = (3.0 * centres).floor().clamp(0, 2).long()
        place = self.places[3 * thirds[..., 0] + thirds[..., 1]]
        rank, order = self._ranked(kind, centres, described)
        return torch.cat([rank, attribute, naming.classes.pieces[kind], place], dim=-1), order, described

    def _background(self, tokens: Tensor, around: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What `_spellings` gives, and the shares, of one more group behind the others: the background."""
        shares = (around / around.sum(-1, keepdim=True).clamp_min(1))[:, None]
        probabilities, number = (shares @ self.naming.background(tokens)).max(-1)
        described = (number != NOTHING) & (probabilities >= CONFIDENCE) & around.any(-1, keepdim=True)
        said = self.naming.background.pieces[number]
        ending = self.around.expand(*said.shape[:2], -1)
        return torch.cat([said, ending], dim=-1), torch.full_like(probabilities, torch.inf), described, shares

    def _ranked(self, kind: Tensor, centres: Tensor, described: Tensor) -> tuple[Tensor, Tensor]:
        """The token ids for which of its class each group is (B, G, K), and the column in whose place it is listed."""
        alike = (kind[..., None] == kind[:, None]) & described[..., None] & described[:, None]  # (B, G, G)
        count = alike.sum(-1)
        number = _places(kind)
        spreads, ranks = [], []
        for position in (centres[..., 1], centres[..., 0]):  # along x, along y
            others = position[:, None].expand(alike.shape)
            lowest = others.masked_fill(~alike, torch.inf).amin(-1)
            spreads.append(others.masked_fill(~alike, -torch.inf).amax(-1) - lowest)
            equal = (position[:, None] == position[..., None]) & (number[None] < number[:, None])
            ranks.append((alike & ((position[:, None] < position[..., None]) | equal)).sum(-1))
        axis = (spreads[0] < spreads[1]).long()
        rank = torch.where(axis == 0, ranks[0], ranks[1])
        column = (centres[:, None, :, 1] * (alike & (ranks[0][:, None] == rank[..., None]))).sum(-1)
        n_inner = len(self.naming.wording.inner)
        end = 1 + 2 * axis + (rank > 0) + 4 * (count > 2)
        inner = torch.where(count == 3, MIDDLE, torch.where(rank <= n_inner, MIDDLE + rank, 0))
        words = torch.where((rank == 0) | (rank == count - 1), end, inner) * (count > 1)
        return self.ranks[words], column

    def _written(self, spellings: Tensor, order: Tensor, described: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
        """`Description`'s ids and shares: the groups from left to right, as many as find room."""
        wording, n_slots = self.naming.wording, self.naming.slots
        opening, separator, closing = len(wording.opening), len(wording.separator), len(wording.closing)
        spelt = spellings != NO_TOKEN
        lengths = spelt.sum(-1)
        number = _places(order)
        left = order[:, None] < order[..., None]  # (B, G, G): whether the second group stands before the first
        same = (order[:, None] == order[..., None]) & (number[None] < number[:, None])
        before = (left | same) & described[:, None]
        starts = opening + (before * (lengths + separator)[:, None]).sum(-1)
        ends = starts + lengths
        written = described & (ends + closing <= n_slots)
        total = ((ends + closing) * written).amax(-1, keepdim=True)
        slots = torch.arange(n_slots)
        place = slots - (n_slots - total)  # (B, S): of each slot, from the opening's first token on
        within = place[:, None] - starts[..., None]  # (B, G, S)
        said = written[..., None] & (within >= 0) & (within < lengths[..., None])
        offsets = (spelt.cumsum(-1) - 1)[..., None]  # (B, G, K, 1): of each token in its spelling
        chosen = spelt[..., None] & said[:, :, None] & (offsets == within[:, :, None])
        ids = (chosen * spellings[..., None]).sum((1, 2))
        ids = torch.where(said.any(1), ids, wording.padding)
        some = total > 0
        for offset, token in enumerate(wording.opening):
            ids = torch.where(some & (place == offset), token, ids)
        apart = written & (starts > opening)
        for offset, token in enumerate(wording.separator):
            here = (apart[..., None] & (within == offset - separator)).any(1)
            ids = torch.where(here, token, ids)
        for offset, token in enumerate(wording.closing):
            ids = torch.where(some & (slots == n_slots - closing + offset), token, ids)
        return ids, said.mT.to(shares.dtype) @ shares


def _joined(first: Sequence[Tensor], second: Sequence[Tensor]) -> list[Tensor]:
    """The groups of two sets of spellings, orders, flags and shares."""
    width = max(first[0].shape[-1], second[0].shape[-1])
    spellings = [F.pad(given[0], (0, width - given[0].shape[-1]), value=NO_TOKEN) for given in (first, second)]
    return [torch.cat(spellings, dim=1), *(torch.cat(both, dim=1) for both in zip(first[1:], second[1:], strict=True))]


def _table(spellings: Sequence[Sequence[int]]) -> Tensor:
    """(N, K) int64 spellings, filled up with `NO_TOKEN`."""
    longest = max(map(len, spellings))
    return torch.tensor([[*spelling, *[NO_TOKEN] * (longest - len(spelling))] for spelling in spellings])


def merged(distance: Tensor, shown: Tensor, apart: float) -> Tensor:
    """Complete-linkage clustering: any two patches of a group are at most `apart`.

    Args:
        distance: (B, P, P) float.
        shown: (B, P) bool, the patches that are clustered.
        apart: a limit of `distance`.

    Returns:
        (B, P) int64 the first patch of each patch's group.
    """
    places = _places(shown)
    alone = ~(shown[:, :, None] & shown[:, None]) | (places[:, None] == places)
    distance = distance.masked_fill(alone, torch.inf)

    def some_are_near(distance: Tensor, groups: Tensor) -> Tensor:
        return distance.flatten().amin(0) <= apart

    def merge_nearest(distance: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
        """Merges the nearest two groups of each image, unless they are too far apart, into the one that is first."""
        patches = torch.arange(distance.shape[2])
        flat = distance.flatten(1)
        nearest = flat.argmin(1, keepdim=True)
        near = flat.amin(1, keepdim=True) <= apart
        first, second = nearest // distance.shape[2], nearest % distance.shape[2]
        kept, gone = near & (patches == first), near & (patches == second)
        both = (kept | gone)[..., None]
        farther = distance.masked_fill(~both, -torch.inf).amax(1)  # of the two, from each group
        distance = torch.where(kept[..., None], farther[:, None], distance)
        distance = torch.where(kept[:, None], farther[..., None], distance)
        nowhere = gone[..., None] | gone[:, None] | (kept[..., None] & kept[:, None])
        groups = torch.where(near & (groups == second), first, groups)
        return distance.masked_fill(nowhere, torch.inf), groups

    return torch.while_loop(some_are_near, merge_nearest, (distance, places.expand(shown.shape).clone()))[1]


def _places(like: Tensor) -> Tensor:
    """(P,) int64 the places along the last axis of a tensor."""
    return torch.arange(like.shape[-1])
