"""The stages of training, each a module whose forward pass gives the losses of one batch.

alignment   the projector learns to say, for each image token, the word for what it shows. It uses masks and class
            names, no LLM pass: a start for the projector, not part of the papers' method.
warmup      the decoders learn from the states that the frozen LLM has at task tokens when it reads texts alone.
tuning      everything trainable, on the mixture of all tasks (journal paper, section 3.3).

Knows nothing of optimisers, logs or checkpoints.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neuraltuning.data.sample import Sample
from neuraltuning.model import Losses, MultitaskModel
from neuraltuning.packing import Batch, Packer
from neuraltuning.tasks import Example

COVERED = 0.25
"""An image token shows an object if the object covers this share of its cell, else the background."""
TEMPERATURE = 0.05


class Stage(nn.Module, ABC):
    """One stage: what a batch is and what its losses are.

    Attributes:
        name: "alignment", "warmup" or "tuning".
        model: the model that it trains.
    """

    name: str

    def __init__(self, model: MultitaskModel) -> None:
        super().__init__()
        self.model = model

    @abstractmethod
    def collate(self, rows: Sequence[list[Example]]) -> Any:
        """The batch of R lists of examples, one list an image."""

    @abstractmethod
    def forward(self, batch: Any) -> Losses:
        """The losses of a batch."""

    def prepare(self, rows: Sequence[list[Example]]) -> None:
        """Called once before the first step of a fresh stage, with examples to fit statistics on."""


class Tuning(Stage):
    """The joint training of all tasks."""

    name = "tuning"

    def __init__(self, model: MultitaskModel, row_length: int) -> None:
        super().__init__(model)
        self.packer = Packer(model, row_length)

    def collate(self, rows: Sequence[list[Example]]) -> Batch:
        return self.packer(rows)

    def forward(self, batch: Batch) -> Losses:
        return self.model(batch)


@dataclass
class CellBatch:
    """Images and, for each of their tokens, the index of the word it should become: (B, P) int64."""

    pixel_values: Tensor
    words: Tensor


class Alignment(Stage):
    """The projector's start: image tokens become the input vectors of the words for what they show."""

    name = "alignment"
    words: Tensor

    def __init__(self, model: MultitaskModel, names: Sequence[str]) -> None:
        """Takes the class names that occur; the background is a word of its own.

        Args:
            model: its projector is trained.
            names: class names in the singular.
        """
        super().__init__(model)
        self.places = {name: place + 1 for place, name in enumerate(names)}
        tokenizer, embedding = model.format.tokenizer, model.language_model.get_input_embeddings().weight
        ids = [tokenizer(" " + name, add_special_tokens=False).input_ids for name in ("background", *names)]
        vectors = torch.stack([embedding[i].detach().float().mean(0) for i in ids])
        self.register_buffer("words", vectors, persistent=False)
        self.register_buffer("center", embedding.detach().float().mean(0), persistent=False)

    def collate(self, rows: Sequence[list[Example]]) -> CellBatch:
        samples = [sample_of(row) for row in rows]
        words = torch.tensor(np.stack([self._words(s) for s in samples]))
        return CellBatch(self.model.encoder.preprocess([s.image for s in samples]), words)

    def forward(self, batch: CellBatch) -> Losses:
        """Cross-entropy over cosine similarities to all words, and the cosine distance to the right one."""
        with torch.no_grad():
            features = self.model.encoder(batch.pixel_values.to(self.model.device))
        said = self.model.projector(features.tokens).flatten(0, 1)
        truth = batch.words.flatten().to(said.device)
        centered = F.normalize(said - self.center, dim=-1) @ F.normalize(self.words - self.center, dim=-1).T
        ce = F.cross_entropy(centered / TEMPERATURE, truth)
        distance = (1.0 - F.cosine_similarity(said, self.words[truth], dim=-1)).mean()
        right = (centered.argmax(-1) == truth).float()
        objects = truth > 0
        parts = {"cell": ce.detach(), "cell_distance": distance.detach(), "cell_accuracy": right[objects].mean()}
        return Losses(ce + distance, parts)

    def _words(self, sample: Sample) -> np.ndarray:
        """For each image token of a sample the index of its word, (P,)."""
        rows, columns = self.model.encoder.grid
        words = np.zeros((rows, columns), dtype=np.int64)
        best = np.full((rows, columns), COVERED)
        for o in sample.objects:
            covered = cell_shares(o.mask, rows, columns)
            larger = covered > best
            words[larger] = self.places.get(o.category, 0)
            best[larger] = covered[larger]
        return words.ravel()


def cell_shares(mask: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """(H, W) bool -> (rows, columns) float, the share of each cell that the mask covers."""
    pixels = torch.from_numpy(mask)[None, None].float()
    return F.adaptive_avg_pool2d(pixels, (rows, columns))[0, 0].numpy()


def sample_of(row: Sequence[Example]) -> Sample:
    """The sample that a row's examples are views of."""
    sample = row[0].sample
    assert sample is not None
    return sample


class Warmup(Stage):
    """Decoders and bridges learn from the frozen LLM's states at task tokens in texts without any image tokens.

    Where a token is about the input image, the reply up to the token is all that is read ("The left dog <OBJ>");
    where there is no input image, the prompt is read too ("Draw a picture: ... <GEN>").
    """

    name = "warmup"

    def __init__(self, model: MultitaskModel, row_length: int) -> None:
        super().__init__(model)
        self.packer = Packer(model, row_length, text_only=True)

    def collate(self, rows: Sequence[list[Example]]) -> Batch:
        return self.packer([[cut for example in row for cut in mentions(example)] for row in rows])

    def prepare(self, rows: Sequence[list[Example]]) -> None:
        """Sets the bridges' standardisation from the states of the first texts."""
        batch = self.collate(rows)
        states = self._hidden_states(batch)
        for token, found in batch.tokens.items():
            name, _ = self.model.decoder_of(token)
            bridge = self.model.bridges[name]
            bridge.fit(bridge.gather(states, found.rows, found.positions))

    def forward(self, batch: Batch) -> Losses:
        batch = batch.to(self.model.device)
        features = self.model.encoder(batch.pixel_values)
        return Losses(*self.model.decoder_losses(self._hidden_states(batch), features, batch))

    @torch.no_grad()
    def _hidden_states(self, batch: Batch) -> Sequence[Tensor]:
        """The frozen LLM's states, as far up as the bridges read."""
        model = self.model
        embeds = model.embed(batch.input_ids)
        deepest = max(layer for bridge in model.bridges.values() for _, layer in bridge.sources)
        with model.llm.disable_adapter(), lowest_layers(model.language_model.get_decoder(), deepest):
            return model.run(embeds, batch).hidden_states


@contextmanager
def lowest_layers(decoder: nn.Module, deepest: int) -> Iterator[None]:
    """Cuts off the layers above `deepest` for the length of the block, where the decoder keeps them in `layers`.

    One more is run, because the final norm replaces the output of the last.
    """
    layers = getattr(decoder, "layers", None)
    if not isinstance(layers, nn.ModuleList) or len(layers) <= deepest + 1:
        yield
        return
    decoder.layers = layers[: deepest + 1]
    try:
        yield
    finally:
        decoder.layers = layers


def mentions(example: Example) -> list[Example]:
    """For each task token of an example one that ends with it: its mention alone, or the whole text without an image."""
    cuts = []
    for token, targets in example.targets.items():
        pieces = example.reply.split(token)
        for place, target in enumerate(targets):
            if example.image is None:
                prompt, reply = example.prompt, token.join(pieces[: place + 1]) + token
            else:
                prompt, reply = "", f"{pieces[place].strip()} {token}"
            cuts.append(replace(example, prompt=prompt, reply=reply, targets={token: [target]}))
    return cuts
