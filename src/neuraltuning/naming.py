"""What groups of patches show, spelt with the LLM's own tokens behind an image's patch tokens.

A frozen LLM reads its own words long before it reads projected patches (docs/experiments.md). So patches that are
likely to show one object form a group, and each group is described, from left to right, by an attribute, its
class and its place: `The picture shows: pink kite top left, palm tree bottom, green background`. Where one class is
there several times, each says which of them it is: `left dog top left, right dog top`. Classes, attributes, boxes and
backgrounds are those of the images that the classifiers and votes were fitted on; what they aren't sure of stays
unsaid. Knows nothing of networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.cluster.hierarchy import fcluster, linkage
from torch import Tensor, nn
from torch.nn import functional as F

from neuraltuning.box_votes import BoxVotes
from neuraltuning.precision import resolve_dtype
from neuraltuning.same_object import FEATURES, SameObject, pair_features, witnesses
from neuraltuning.wording import Thing, Wording

NOTHING = 0
"""The class of what nothing is to be said of: background, and objects whose attribute no text tells."""
UNKNOWN = -1
"""Stands for the class of a patch that a classifier is not to learn from."""
CONFIDENCE = 0.25
"""A group is described if the probability of its class reaches this in one of its patches."""
ATTRIBUTES = 64
"""Attributes at most, and nothing."""
MAX_PIECES = 12
"""Tokens of a name at most; longer names are cut."""
PAIRS = 1000
"""Pairs of patches of an image at most that `SameObject` learns from."""
UNLIKELY = 0.1
"""No two patches of a group are less likely than this to show one object."""

HIDDEN_SIZE = 512
"""Of a classifier's perceptron."""
STEPS, PASSES, BATCH, RATE, WEIGHT_DECAY, SMOOTHING = 200, 6, 2048, 2e-3, 1e-2, 0.05
"""Of a classifier's fit: AdamW with cosine decay on the smoothed cross-entropy, for so many steps, or as many as so
many passes over the patches are."""


class PatchClassifier(nn.Module):
    """A linear classifier of patches with a perceptron beside it, and the spelling of its classes.

    All its tensors are buffers: they are fitted once, before training, and not trained on.
    """

    weight: Tensor
    bias: Tensor
    first: Tensor
    first_bias: Tensor
    second: Tensor
    pieces: Tensor
    center: Tensor

    def __init__(self, token_size: int, vocabulary: int) -> None:
        """Makes a classifier that knows no class yet but `NOTHING`.

        Args:
            token_size: C, channels of a patch token.
            vocabulary: V, classes at most, `NOTHING` among them.
        """
        super().__init__()
        self.register_buffer("center", torch.zeros(token_size))
        self.register_buffer("weight", torch.zeros(vocabulary, token_size))
        bias = torch.full((vocabulary,), -torch.inf)
        bias[NOTHING] = 0.0
        self.register_buffer("bias", bias)
        self.register_buffer("first", torch.zeros(HIDDEN_SIZE, token_size))
        self.register_buffer("first_bias", torch.zeros(HIDDEN_SIZE))
        self.register_buffer("second", torch.zeros(vocabulary, HIDDEN_SIZE))
        self.register_buffer("pieces", torch.full((vocabulary, MAX_PIECES), -1))

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., C) patch tokens -> (..., V) probabilities of the classes."""
        weights = (self.weight, self.bias, self.first, self.first_bias, self.second)
        return _logits(self._normed(tokens), *weights).softmax(-1)

    def spelling(self, number: int) -> list[int]:
        """The token ids of a class's name; none for `NOTHING`."""
        return [piece for piece in self.pieces[number].tolist() if piece >= 0]

    def mean_pieces(self, embedding: nn.Module) -> Tensor:
        """(V, D) float32 the mean of each name's input vectors, zeros where there is no name.

        `embedding` is the LLM's input embedding module, (...) ids -> (..., D).
        """
        present = self.pieces >= 0
        vectors = embedding(self.pieces.clamp_min(0)).float() * present[..., None]
        return vectors.sum(1) / present.sum(1, keepdim=True).clamp_min(1)

    def fit(self, tokens: Tensor, labels: Tensor, spellings: Sequence[Sequence[int]], seed: int) -> Tensor:
        """Trains the classifier.

        Args:
            tokens: (N, C) patch tokens of any float type.
            labels: (N,) int64 the class of each, an index into `spellings`, or `UNKNOWN`.
            spellings: token ids of each class's name, those of `NOTHING` first, which are not used. Classes beyond the
                vocabulary are left out, the rarest ones.
            seed: of the first weights and of the batches.

        Returns:
            For each of `spellings` the class that it became, `UNKNOWN` where it was left out.
        """
        known = (labels != UNKNOWN).nonzero()[:, 0]
        counts = torch.bincount(labels[known], minlength=len(spellings))
        counts[NOTHING] = len(labels) + 1
        classes = counts.argsort(descending=True, stable=True)[: len(self.bias)]
        rank = torch.full((len(spellings),), UNKNOWN, device=labels.device)
        rank[classes] = torch.arange(len(classes), device=labels.device)
        kept = known[rank[labels[known]] != UNKNOWN]
        self.center.copy_(F.layer_norm(tokens[kept[: 16 * BATCH]].float(), tokens.shape[1:]).mean(0))
        generator = torch.Generator().manual_seed(seed)
        bound = tokens.shape[1] ** -0.5
        first_weights = [
            torch.zeros(len(classes), tokens.shape[1]),
            torch.zeros(len(classes)),
            torch.empty(self.first.shape).uniform_(-bound, bound, generator=generator),
            torch.zeros(HIDDEN_SIZE),
            torch.zeros(len(classes), HIDDEN_SIZE),
        ]
        trained = [weights.to(tokens.device).requires_grad_() for weights in first_weights]
        optimizer = torch.optim.AdamW(trained, lr=RATE, weight_decay=WEIGHT_DECAY)
        # "auto" asks about processors and NVIDIA's GPUs; others may have no autocast
        dtype = resolve_dtype("auto") if tokens.device.type in ("cpu", "cuda") else torch.float32
        steps = max(STEPS, PASSES * len(kept) // BATCH)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        with torch.enable_grad():
            for _ in range(steps):
                chosen = kept[torch.randint(len(kept), (min(BATCH, len(kept)),), generator=generator).to(kept.device)]
                normed = self._normed(tokens[chosen])
                with torch.autocast(tokens.device.type, dtype, enabled=dtype != torch.float32):
                    logits = _logits(normed, *trained)
                loss = F.cross_entropy(logits.float(), rank[labels[chosen]], label_smoothing=SMOOTHING)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
        weight, bias, first, first_bias, second = (learned.detach() for learned in trained)
        self.weight.zero_()[: len(classes)] = weight
        self.bias.fill_(-torch.inf)[: len(classes)] = bias
        self.first.copy_(first)
        self.first_bias.copy_(first_bias)
        self.second.zero_()[: len(classes)] = second
        self.pieces.fill_(-1)
        for place, number in enumerate(classes.tolist()):
            if number != NOTHING:
                spelling = torch.tensor(list(spellings[number])[:MAX_PIECES], dtype=torch.int64)
                self.pieces[place, : len(spelling)] = spelling.to(self.pieces.device)
        return rank

    def _normed(self, tokens: Tensor) -> Tensor:
        return F.layer_norm(tokens.float(), tokens.shape[-1:]) - self.center


def _logits(tokens: Tensor, weight: Tensor, bias: Tensor, first: Tensor, first_bias: Tensor, second: Tensor) -> Tensor:
    """(..., C) normed tokens -> (..., V)."""
    return F.linear(tokens, weight, bias) + F.linear(F.gelu(F.linear(tokens, first, first_bias)), second)


@dataclass(frozen=True)
class Description:
    """What a `Naming` says of B images.

    Attributes:
        ids: (B, S) int64 token ids.
        shares: (B, S, P) float32, for a position of a description the group's patches in equal shares, else zeros.
        classes: (B, P, V) float32 the probabilities of each patch's class.
        attributes: (B, P, ATTRIBUTES) float32 those of its attribute, zeros as far as the class has none.
        boxes: (B, P, 4) float32 the box that each patch votes for, see `BoxVotes`.
    """

    ids: Tensor
    shares: Tensor
    classes: Tensor
    attributes: Tensor
    boxes: Tensor


class Naming(nn.Module):
    """Finds the groups of patches of an image and describes them.

    Attributes:
        classes: of what a patch shows; `NOTHING` is background.
        attributes: of the object that a patch shows.
        votes: for the box of the object that a patch shows.
        same: whether two patches show one object.
        background: of what is said of the background that a patch shows.
        varied: (V,) bool, the classes whose objects may have an attribute.
    """

    varied: Tensor

    def __init__(
        self,
        token_size: int,
        grid: tuple[int, int],
        vocabulary: int,
        slots: int,
        wording: Wording,
    ) -> None:
        """Makes a naming that knows no name yet.

        Args:
            token_size: C, channels of a patch token.
            grid: rows and columns of the patches.
            vocabulary: V, classes at most, the background among them.
            slots: S, positions an image.
            wording: the words beside attributes and names.
        """
        super().__init__()
        self.grid, self.slots = grid, slots
        self.wording = wording
        self.classes = PatchClassifier(token_size, vocabulary)
        self.attributes = PatchClassifier(token_size, ATTRIBUTES)
        self.votes = BoxVotes(token_size, grid)
        self.same = SameObject()
        self.background = PatchClassifier(token_size, vocabulary)
        self.register_buffer("varied", torch.zeros(vocabulary, dtype=torch.bool))

    def fit(
        self,
        tokens: Tensor,
        classes: Tensor,
        class_spellings: Sequence[Sequence[int]],
        attributes: Tensor,
        attribute_spellings: Sequence[Sequence[int]],
        backgrounds: Tensor,
        background_spellings: Sequence[Sequence[int]],
        places: Tensor,
        boxes: Tensor,
        whole: Tensor,
        objects: Tensor,
        seed: int,
    ) -> None:
        """Fits the classifiers and the votes, and then `SameObject` by what they find in further images.

        Args:
            tokens: (N, C) patch tokens of any float type.
            classes: (N,) int64 what each shows, an index into `class_spellings`.
            class_spellings: token ids of each class's name, `NOTHING` first.
            attributes: (N,) int64, an index into `attribute_spellings`, `NOTHING` where no text tells it; these are not
                learned from.
            attribute_spellings: token ids of each attribute, `NOTHING` first.
            backgrounds, background_spellings: as `attributes`, of what is said of the background.
            places: (N,) int64, which patch of its image each is.
            boxes: (N, 4) float32 that of the object that each shows; not read where that is `NOTHING`.
            whole: (I, P, C) patch tokens of further images.
            objects: (I, P) int64, the number of the object that each of them shows, negative for none.
            seed: of the batches.
        """
        rank = self.classes.fit(tokens, classes, class_spellings, seed)
        self.varied.zero_()
        told = attributes > NOTHING
        if told.any():
            self.attributes.fit(tokens, torch.where(told, attributes, UNKNOWN), attribute_spellings, seed)
            varied = rank[classes[told].unique()]
            self.varied[varied[varied != UNKNOWN]] = True
        told = backgrounds > NOTHING
        if told.any():
            self.background.fit(tokens, torch.where(told, backgrounds, UNKNOWN), background_spellings, seed)
        shown = classes > NOTHING
        if shown.any():
            self.votes.fit(tokens[shown], places[shown], boxes[shown], seed)
        self.same.fit(*self._pairs(whole, objects, torch.Generator().manual_seed(seed)), seed)

    @torch.no_grad()
    def read(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`Description`'s classes, attributes and boxes of patch tokens (B, P, C)."""
        classes = self.classes(tokens)
        attributes = self.attributes(tokens)
        attributes[..., NOTHING] = 0.0
        attributes = attributes * (classes * self.varied).sum(-1, keepdim=True)
        return classes, attributes, self.votes(tokens)

    def forward(self, tokens: Tensor) -> Description:
        """Describes what images show: (B, P, C) float, row-major over the grid."""
        read = self.read(tokens)
        return Description(*self.describe(tokens, *read), *read)

    @torch.no_grad()
    def describe(self, tokens: Tensor, classes: Tensor, attributes: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """`Description`'s ids and shares of patch tokens (B, P, C), from what `read` gave for them."""
        ids = torch.full((len(tokens), self.slots), self.wording.padding, device=tokens.device)
        shares = torch.zeros(len(tokens), self.slots, tokens.shape[1], device=tokens.device)
        for image in range(len(tokens)):
            things = self._things(classes[image], attributes[image], boxes[image])
            found = [(words, things[number][1]) for number, words in self.wording.describe([t for t, _ in things])]
            found += self._background(tokens[image], classes[image])
            written, starts = self.write([spelling for spelling, _ in found])
            first = self.slots - len(written)
            ids[image, first:] = torch.tensor(written, dtype=torch.int64, device=ids.device)
            for (spelling, patches), start in zip(found, starts, strict=False):
                for place in range(first + start, first + start + len(spelling)):
                    shares[image, place, patches] = 1.0 / len(patches)
        return ids, shares

    def write(self, spellings: Sequence[Sequence[int]]) -> tuple[list[int], list[int]]:
        """Token ids of descriptions, as many as find room in the slots, and where each of these begins among them."""
        wording = self.wording
        written: list[int] = []
        starts: list[int] = []
        for spelling in spellings:
            before = wording.separator if written else wording.opening
            if len(written) + len(before) + len(spelling) + len(wording.closing) > self.slots:
                break
            starts.append(len(written) + len(before))
            written += [*before, *spelling]
        return [*written, *(wording.closing if written else ())], starts

    def _things(self, classes: Tensor, attributes: Tensor, boxes: Tensor) -> list[tuple[Thing, Tensor]]:
        """What the groups of one image's patches show, each with its patches, (n,) int64."""
        found = []
        height, width = self.grid
        groups = self._groups(classes, attributes, boxes)
        for patches in sorted(groups, key=lambda patches: int(patches[0])):
            probabilities = classes[patches]
            shown = int(probabilities[:, NOTHING + 1 :].mean(0).argmax()) + NOTHING + 1
            if probabilities[:, shown].max() < CONFIDENCE:
                continue
            row, column = boxes[patches, :2].mean(0).tolist()
            attribute = int(attributes[patches].mean(0).argmax())
            said = self.attributes.spelling(attribute) if self.varied[shown] else ()
            found.append((Thing(said, self.classes.spelling(shown), row / height, column / width), patches))
        return found

    def _background(self, tokens: Tensor, classes: Tensor) -> list[tuple[list[int], Tensor]]:
        """The description of one image's background and its patches, (n,) int64; none if there is nothing to say."""
        patches = (classes.argmax(-1) == NOTHING).nonzero()[:, 0]
        if not len(patches):
            return []
        probabilities = self.background(tokens[patches]).mean(0)
        number = int(probabilities.argmax())
        if number == NOTHING or probabilities[number] < CONFIDENCE:
            return []
        return [([*self.background.spelling(number), *self.wording.background], patches)]

    def _groups(self, classes: Tensor, attributes: Tensor, boxes: Tensor) -> list[Tensor]:
        """The groups of one image's patches that show something: the numbers of each group's patches, (n,) int64.

        Complete-linkage clustering by how unlikely two patches are to show one object, up to `1 - UNLIKELY`.
        """
        shown = (classes.argmax(-1) != NOTHING).nonzero()[:, 0]
        if len(shown) < 2:
            return [shown] if len(shown) else []
        apart = 1.0 - self.same(self._features(classes, attributes, boxes, shown)).double()
        pairs = apart.cpu().numpy()[np.triu_indices(len(shown), 1)]
        numbers = torch.from_numpy(fcluster(linkage(pairs, "complete"), 1.0 - UNLIKELY, "distance")).to(shown.device)
        return [shown[numbers == number] for number in range(1, int(numbers.max()) + 1)]

    def _features(self, classes: Tensor, attributes: Tensor, boxes: Tensor, shown: Tensor) -> Tensor:
        """(n, n, FEATURES) of the pairs of `shown` (n,), patches of one image; the others are (P, ...)."""
        counted = torch.isin(shown, witnesses(len(classes)).to(shown.device)).nonzero()[:, 0]
        kinds, centres = classes[shown, NOTHING + 1 :], self.votes.centres[shown]
        return pair_features(
            kinds, attributes[shown], boxes[shown], centres, counted, torch.ones(len(counted), device=shown.device)
        )

    def _pairs(self, tokens: Tensor, objects: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The features of pairs of patches (N, FEATURES), and 1 where the two show one object (N,); see `fit`."""
        features = [tokens.new_zeros(0, FEATURES, dtype=torch.float32)]
        same = [tokens.new_zeros(0, dtype=torch.float32)]
        for image, owners in zip(tokens, objects, strict=True):
            classes, attributes, boxes = self.read(image)
            shown = (classes.argmax(-1) != NOTHING).nonzero()[:, 0]
            pairs = torch.triu_indices(len(shown), len(shown), 1, device=shown.device)
            one, other = owners[shown[pairs]]
            pairs = pairs[:, (one >= 0) & (other >= 0)]
            pairs = pairs[:, torch.randperm(pairs.shape[1], generator=generator)[:PAIRS].to(shown.device)]
            one, other = owners[shown[pairs]]
            features.append(self._features(classes, attributes, boxes, shown)[pairs[0], pairs[1]])
            same.append((one == other).float())
        return torch.cat(features), torch.cat(same)
