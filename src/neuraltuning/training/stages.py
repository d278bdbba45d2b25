"""The stages of training, each a module whose forward pass gives the losses of one batch.

reading     the tuner learns to answer from true descriptions of images, without their tokens.
warmup      the decoders learn from the states that the LLM has at task tokens when it reads texts alone.
tuning      everything trainable, on the mixture of all tasks (journal paper, section 3.3).

Before them `neuraltuning.training.alignment` gives the projector its start. Knows nothing of optimisers, logs or
checkpoints.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from neuraltuning.bridge import Readings
from neuraltuning.encoders.base import ImageFeatures
from neuraltuning.errors import InputError
from neuraltuning.model import Losses, MultitaskModel
from neuraltuning.packing import Batch, Packer
from neuraltuning.tasks import Example
from neuraltuning.training.alignment import attribute_of, true_description, word_vectors
from neuraltuning.training.mixture import Rows

PREPARED_AT_ONCE = 4
"""Images: a pass over few rows of texts takes less time a text than one over many, which are padded."""


class Stage(nn.Module, ABC):
    """One stage: what a batch is and what its losses are.

    Attributes:
        name: "warmup", "reading" or "tuning".
        model: the model that it trains.
        packer: makes its batches.
    """

    name: str
    packer: Packer

    def __init__(self, model: MultitaskModel) -> None:
        super().__init__()
        self.model = model

    @abstractmethod
    def collate(self, rows: Sequence[list[Example]]) -> Any:
        """The batch of R lists of examples, one list an image."""

    @abstractmethod
    def forward(self, batch: Any) -> Losses:
        """The losses of a batch."""

    def learns_from(self, tokens: Sequence[str]) -> bool:
        """Whether a task whose replies may carry `tokens` teaches it something."""
        return True


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


class Reading(Stage):
    """The tuner learns to answer from what `Naming` would say of an image, if it knew all that the annotations know.

    A text costs a fraction of an image with its tokens and masks, so that facts (what "keeps you dry in the rain") and
    the replies' form are learned from many more examples. No decoder takes part.
    """

    name = "reading"

    def __init__(self, model: MultitaskModel, row_length: int) -> None:
        """Takes a model that describes images in words.

        Raises:
            InputError: it doesn't (`model.names.slots` is 0).
        """
        super().__init__(model)
        if model.naming is None:
            raise InputError(
                "The stage reading learns from descriptions, but model.names.slots is 0; leave reading out."
            )
        self.packer = Packer(model, row_length, text_only=True, describe=partial(true_description, model))

    def collate(self, rows: Sequence[list[Example]]) -> Batch:
        return self.packer(rows)

    def forward(self, batch: Batch) -> Losses:
        """The loss of the texts."""
        batch = batch.to(self.model.device)
        hidden = self.model.run(self.model.embed(batch.input_ids), batch).last_hidden_state
        return Losses(*self.model.text_loss(hidden, batch))


class Warmup(Stage):
    """Decoders and bridges learn from the LLM's states at task tokens, in texts without any image tokens.

    A pass without image tokens and without gradients is cheap, and the states are near to those that the token has
    behind an image, as long as the tuner is the same (docs/experiments.md). Tokens that stand for no part of an input
    image are left to `neuraltuning.training.alignment`.
    """

    name = "warmup"

    def __init__(self, model: MultitaskModel, row_length: int, *, tuned: bool = False) -> None:
        """Takes a model.

        Args:
            model: its bridges and decoders are trained.
            row_length: positions of a packed row at most.
            tuned: the tuner has learned already, and states are those that it makes; by default the frozen LLM's.
        """
        super().__init__(model)
        self.packer = Packer(model, row_length, text_only=True)
        self.tuned = tuned

    def collate(self, rows: Sequence[list[Example]]) -> Batch:
        return self.packer(rows)

    def learns_from(self, tokens: Sequence[str]) -> bool:
        return bool(tokens) and all(self.model.decoder_of(token)[1].about_input for token in tokens)

    @torch.no_grad()
    def prepare(self, rows: Rows) -> None:
        """Fits the bridges, then the decoders of tokens for parts of an image on what these give.

        Called once before the first step of a fresh stage, with examples that carry task tokens.
        """
        seen: list[ImageFeatures] = []
        found: dict[str, list[tuple[Readings, Tensor, Tensor | None, list[list[str]]]]] = {}
        n_images = 0
        for start in range(0, len(rows), PREPARED_AT_ONCE):
            part = [rows[i] for i in range(start, min(start + PREPARED_AT_ONCE, len(rows)))]
            batch = self.collate(part).to(self.model.device)
            embeds, states = self._read_texts(batch)
            for token, at in batch.tokens.items():
                bridge = self.model.bridge(self.model.decoder_of(token)[0])
                asked = [e for row in part for e in row]
                kept = [asked[i] for i in dict.fromkeys(at.examples.tolist())]  # without those that found no room
                names = [words for example in kept for words in words_of(example, token, bridge.n_words)]
                readings = bridge.read(embeds, states, at.rows, at.starts, at.positions)
                found.setdefault(token, []).append((readings, at.owners + n_images, at.targets, names))
            seen.append(self.model.look(batch.pixel_values))
            n_images += len(batch.pixel_values)
        features = ImageFeatures.join(seen)
        for token, parts in found.items():
            name, decoder = self.model.decoder_of(token)
            readings = Readings.join([part[0] for part in parts])
            targets = [part[2] for part in parts if part[2] is not None]
            bridge = self.model.bridge(name)
            with torch.enable_grad():
                bridge.fit(readings, self._vectors([words for part in parts for words in part[3]]))
            given = bridge(readings)
            if targets and decoder.about_input:
                with torch.enable_grad():
                    decoder.fit(given, features, torch.cat([part[1] for part in parts]), torch.cat(targets))

    def _vectors(self, names: Sequence[Sequence[str]]) -> Tensor | None:
        """(N, n_words, D) the vectors of class names, zeros for ""; None where there is no name at all."""
        known = sorted({word for words in names for word in words if word})
        if not known:
            return None
        vectors = dict(zip(known, word_vectors(self.model, known), strict=True))
        unknown = torch.zeros_like(self.model.word_mean)
        return torch.stack([torch.stack([vectors.get(word, unknown) for word in words]) for words in names])

    def forward(self, batch: Batch) -> Losses:
        """The decoders' losses."""
        batch = batch.to(self.model.device)
        features = self.model.look(batch.pixel_values, embedding=self.model.learns_embedding(batch))
        return Losses(*self.model.decoder_losses(*self._read_texts(batch), features, batch))

    @torch.no_grad()
    def _read_texts(self, batch: Batch) -> tuple[Tensor, Sequence[Tensor]]:
        """The input vectors, and the LLM's states as far up as the bridges read."""
        model = self.model
        embeds = model.embed(batch.input_ids)
        deepest = max(max(model.bridge(name).layers) for name in model.bridges)
        reading = model.evaluating() if self.tuned else model.llm.disable_adapter()
        with reading, lowest_layers(model.language_model.get_decoder(), deepest):
            return embeds, model.run(embeds, batch).hidden_states


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


def words_of(example: Example, token: str, n_words: int) -> list[list[str]]:
    """For each `token` of the reply what its words should be, as far as the mention says it, "" where not.

    First the class name of the object that it stands for, then its attribute, then the names of other classes: "the red
    cat below the umbrella", "the object below the umbrella".
    """
    objects = () if example.sample is None else example.sample.objects
    classes = sorted({o.category for o in objects})
    found = []
    for mention, target in zip(example.reply.split(token), example.targets.get(token, ()), strict=False):
        own = next((o for o in objects if o.mask is target), None)
        words: list[str] = []
        if own is not None and example.sample is not None:
            named = _named(mention, classes)
            attribute = attribute_of(example.sample, own)
            said = attribute if _named(mention, [attribute]) else ""
            words = [own.category if own.category in named else "", said, *(n for n in named if n != own.category)]
        found.append([*words, *[""] * n_words][:n_words])
    return found


def _named(text: str, names: Sequence[str]) -> list[str]:
    """Those of `names` that stand in `text` as words of their own, in the plural too; "palm tree" names no tree."""
    found = set()
    for name in sorted(filter(None, names), key=len, reverse=True):
        text, count = re.subn(rf"\b{re.escape(name)}(e?s)?\b", " ", text, flags=re.IGNORECASE)
        if count:
            found.add(name)
    return [name for name in names if name in found]
