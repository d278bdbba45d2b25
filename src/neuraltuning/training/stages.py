"""The stages of training, each a module whose forward pass gives the losses of one batch.

warmup      the decoders learn from the states that the frozen LLM has at task tokens when it reads texts alone.
tuning      everything trainable, on the mixture of all tasks (journal paper, section 3.3).

Before them `neuraltuning.training.alignment` gives the projector its start. Knows nothing of optimisers, logs or
checkpoints.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from neuraltuning.bridge import Readings
from neuraltuning.encoders.base import ImageFeatures
from neuraltuning.model import Losses, MultitaskModel
from neuraltuning.packing import Batch, Packer
from neuraltuning.tasks import Example
from neuraltuning.training.alignment import word_vectors

PREPARED_AT_ONCE = 16


class Stage(nn.Module, ABC):
    """One stage: what a batch is and what its losses are.

    Attributes:
        name: "warmup" or "tuning".
        model: the model that it trains.
        token_tasks_only: whether only tasks with task tokens teach it something.
    """

    name: str
    token_tasks_only = False

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


class Warmup(Stage):
    """Decoders and bridges learn from the frozen LLM's states at task tokens in texts without any image tokens.

    Where a token is about the input image, the reply up to the token is all that is read ("The left dog <OBJ>");
    where there is no input image, the prompt is read too ("Draw a picture: ... <GEN>").
    """

    name = "warmup"
    token_tasks_only = True

    def __init__(self, model: MultitaskModel, row_length: int) -> None:
        super().__init__(model)
        self.packer = Packer(model, row_length, text_only=True)

    def collate(self, rows: Sequence[list[Example]]) -> Batch:
        return self.packer([[cut for example in row for cut in mentions(example)] for row in rows])

    @torch.no_grad()
    def prepare(self, rows: Sequence[list[Example]]) -> None:
        """Fits the bridges, then the decoders on what these give."""
        seen: list[ImageFeatures] = []
        found: dict[str, list[tuple[Readings, Tensor, Tensor | None, list[list[str]]]]] = {}
        n_images = 0
        for start in range(0, len(rows), PREPARED_AT_ONCE):
            part = rows[start : start + PREPARED_AT_ONCE]
            batch = self.collate(part).to(self.model.device)
            states = self._hidden_states(batch)
            for token, at in batch.tokens.items():
                bridge = self.model.bridge(self.model.decoder_of(token)[0])
                cuts = [cut for row in part for e in row for cut in mentions(e) if token in cut.targets]
                names = [words_of(cut, token, bridge.n_words) for cut in cuts]
                readings = bridge.read(states, at.rows, at.starts, at.positions)
                found.setdefault(token, []).append((readings, at.owners + n_images, at.targets, names))
            seen.append(self.model.see(batch.pixel_values)[0])
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
            with torch.enable_grad():
                owners = torch.cat([part[1] for part in parts])
                decoder.fit(given, features, owners, torch.cat(targets) if targets else None)

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
        features, _ = self.model.see(batch.pixel_values)
        return Losses(*self.model.decoder_losses(self._hidden_states(batch), features, batch))

    @torch.no_grad()
    def _hidden_states(self, batch: Batch) -> Sequence[Tensor]:
        """The frozen LLM's states, as far up as the bridges read."""
        model = self.model
        embeds = model.embed(batch.input_ids)
        deepest = max(max(model.bridge(name).layers) for name in model.bridges)
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


def words_of(cut: Example, token: str, n_words: int) -> list[str]:
    """Class names for the words of the task token that ends `cut`: of the object that it stands for, then of others,
    as far as the text names them ("the cat below the umbrella", "the object below the umbrella"); "" where not."""
    objects = () if cut.sample is None else cut.sample.objects
    own = next((o.category for o in objects if o.mask is cut.targets[token][0]), None)
    if own is None:
        return [""] * n_words
    named = [name for name in sorted({o.category for o in objects}) if name in cut.reply.lower()]
    others = [name for name in named if name != own]
    return [own if own in named else "", *others, *[""] * n_words][:n_words]


def mentions(example: Example) -> list[Example]:
    """For each task token an example that ends with it: its mention alone, or the whole text without an image."""
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
