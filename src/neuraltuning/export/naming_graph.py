"""`Naming` written with tensor operations alone, so that it can be traced into a graph.

The model itself groups patches with scipy and writes the descriptions in plain Python. Here the same is done for a
batch of images at once: complete-linkage clustering in a loop of the graph, everything else by comparisons. Where two
distances are exactly equal the two may merge different pairs first. Knows nothing of ONNX.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from neuraltuning.naming import CONFIDENCE, NOTHING, Description, Naming, distances

NO_TOKEN = -1
"""Fills up spellings."""


class NamingGraph(nn.Module):
    """Describes what images show, as the `Naming` does that it is made from."""

    places: Tensor

    def __init__(self, naming: Naming) -> None:
        super().__init__()
        self.naming = naming
        places = [list(place) for row in naming.places for place in row]
        longest = max(map(len, places))
        padded = [place + [NO_TOKEN] * (longest - len(place)) for place in places]
        self.register_buffer("places", torch.tensor(padded), persistent=False)

    def forward(self, tokens: Tensor) -> Description:
        """(B, P, C) float, row-major over the grid -> what `Naming` says of it."""
        classes, attributes, boxes = self.naming.read(tokens)
        shown = classes.argmax(-1) != NOTHING
        groups = merged(distances(classes, attributes, boxes), shown, self.naming.apart)
        members = shown[:, None] & (groups[:, None] == _places(groups)[:, None])  # (B, G, P): G as many as patches
        sizes = members.sum(-1)
        shares = members / sizes.clamp_min(1)[..., None]
        spellings, columns, described = self._spellings(shares, members, classes, attributes, boxes)
        return Description(*self._written(spellings, columns, described, shares), classes, attributes, boxes)

    def _spellings(
        self, shares: Tensor, members: Tensor, classes: Tensor, attributes: Tensor, boxes: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Each group's token ids (B, G, K), filled up with `NO_TOKEN`, its column (B, G), and whether it is named."""
        naming = self.naming
        kind = (shares @ classes)[..., NOTHING + 1 :].argmax(-1) + NOTHING + 1
        probabilities = classes.mT.gather(1, kind[..., None].expand(members.shape))
        described = members.any(-1) & ((probabilities * members).amax(-1) >= CONFIDENCE)
        centres = shares @ boxes[..., :2]
        varied = naming.varied[kind][..., None]
        attribute = naming.attributes.pieces[(shares @ attributes).argmax(-1)].masked_fill(~varied, NO_TOKEN)
        thirds = (3.0 * centres / torch.tensor(naming.grid, dtype=centres.dtype)).floor().clamp(0, 2).long()
        place = self.places[3 * thirds[..., 0] + thirds[..., 1]]
        return torch.cat([attribute, naming.classes.pieces[kind], place], dim=-1), centres[..., 1], described

    def _written(self, spellings: Tensor, columns: Tensor, described: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
        """`Description`'s ids and shares: the groups from left to right, as many as find room."""
        naming = self.naming
        opening, separator, closing = len(naming.opening), len(naming.separator), len(naming.closing)
        spelt = spellings != NO_TOKEN
        lengths = spelt.sum(-1)
        number = _places(columns)
        left = columns[:, None] < columns[..., None]  # (B, G, G): whether the second group stands before the first
        same = (columns[:, None] == columns[..., None]) & (number[None] < number[:, None])
        before = (left | same) & described[:, None]
        starts = opening + (before * (lengths + separator)[:, None]).sum(-1)
        ends = starts + lengths
        written = described & (ends + closing <= naming.slots)
        total = ((ends + closing) * written).amax(-1, keepdim=True)
        slots = torch.arange(naming.slots)
        place = slots - (naming.slots - total)  # (B, S): of each slot, from the opening's first token on
        within = place[:, None] - starts[..., None]  # (B, G, S)
        said = written[..., None] & (within >= 0) & (within < lengths[..., None])
        offsets = (spelt.cumsum(-1) - 1)[..., None]  # (B, G, K, 1): of each token in its spelling
        chosen = spelt[..., None] & said[:, :, None] & (offsets == within[:, :, None])
        ids = (chosen * spellings[..., None]).sum((1, 2))
        ids = torch.where(said.any(1), ids, naming.padding)
        some = total > 0
        for offset, token in enumerate(naming.opening):
            ids = torch.where(some & (place == offset), token, ids)
        apart = written & (starts > opening)
        for offset, token in enumerate(naming.separator):
            here = (apart[..., None] & (within == offset - separator)).any(1)
            ids = torch.where(here, token, ids)
        for offset, token in enumerate(naming.closing):
            ids = torch.where(some & (slots == naming.slots - closing + offset), token, ids)
        return ids, said.mT.to(shares.dtype) @ shares


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
