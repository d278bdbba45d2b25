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
from torch.nn import functional as F

from neuraltuning.data.sample import Sample
from neuraltuning.model import Losses, MultitaskModel
from neuraltuning.packing import Batch, Packer
from neuraltuning.tasks import Example
from neuraltuning.training.alignment import word_vectors


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

    def prepare(self, rows: Sequence[list[Example]]) -> None:
        """Sets the bridges' standardisation and their words' closed-form start."""
        batch = self.collate(rows)
        states = self._hidden_states(batch)
        for token, found in batch.tokens.items():
            name, _ = self.model.decoder_of(token)
            bridge = self.model.bridge(name)
            targets = [t for row in rows for e in row for cut in mentions(e) for t in cut.targets.get(token, ())]
            owners = [e.sample for row in rows for e in row for t in e.targets.get(token, ())]
            names = [category_of(sample, target) for sample, target in zip(owners, targets, strict=True)]
            known = all(name is not None for name in names)
            words = F.normalize(word_vectors(self.model, list(map(str, names))), dim=-1) if known else None
            bridge.fit(bridge.gather(states, found.rows, found.positions), words)

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
        deepest = max(layer for name in model.bridges for _, layer in model.bridge(name).sources)
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


def category_of(sample: Sample | None, target: object) -> str | None:
    """The class name of the object whose mask is `target`; None for other targets."""
    objects = () if sample is None else sample.objects
    return next((o.category for o in objects if o.mask is target), None)


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
