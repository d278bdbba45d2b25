"""From examples to one batch: every image once, its examples packed behind it, blind to each other.

An image's tokens cost more than a question about it, so the examples of one image share them: a row is
`[bos, image tokens, example, example, ...]`, and a mask lets each example see the image tokens and itself alone.
An example without an input image sees neither the image nor the others. Knows nothing of networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from neuraltuning.tasks.base import Example

if TYPE_CHECKING:
    from neuraltuning.model import MultitaskModel

IMAGE_PLACE = -1
"""Stands in `input_ids` where an image token goes."""

NO_LABEL = -100
PREFIX_SEGMENT = 0
PADDING_SEGMENT = -1


@dataclass
class TokenTargets:
    """The N occurrences of one task token in a batch.

    Attributes:
        rows, positions: (N,) int64, where the token stands in `input_ids`.
        owners: (N,) int64, the image it belongs to, in `pixel_values`.
        targets: (N, ...) what the decoder learns from, or None where its owner is all it needs.
    """

    rows: Tensor
    positions: Tensor
    owners: Tensor
    targets: Tensor | None


@dataclass
class Batch:
    """R packed rows of T positions over I images.

    Attributes:
        pixel_values: (I, 3, S, S) float32.
        row_images: (R,) int64, the image whose tokens open the row; -1 for a row without one.
        input_ids: (R, T) int64, `IMAGE_PLACE` where image tokens go.
        position_ids: (R, T) int64; each example counts on from the image's tokens.
        segment_ids: (R, T) int64: 0 for bos and image tokens, k for the k-th example, -1 for padding.
        sees_image: (R, T) bool, whether the position may attend to segment 0.
        labels: (R, T) int64, the token to be predicted at each position, `NO_LABEL` outside replies.
        label_tasks: (R, T) int64, index into `task_names` of the task that a label belongs to.
        task_names: the tasks in this batch.
        tokens: task token -> its occurrences; only tokens that occur.
    """

    pixel_values: Tensor
    row_images: Tensor
    input_ids: Tensor
    position_ids: Tensor
    segment_ids: Tensor
    sees_image: Tensor
    labels: Tensor
    label_tasks: Tensor
    task_names: tuple[str, ...]
    tokens: dict[str, TokenTargets]

    def to(self, device: torch.device) -> Batch:
        """The batch on another device."""
        moved = {k: v.to(device) for k, v in vars(self).items() if isinstance(v, Tensor)}
        tokens = {
            name: TokenTargets(**{k: None if v is None else v.to(device) for k, v in vars(found).items()})
            for name, found in self.tokens.items()
        }
        return replace(self, **moved, tokens=tokens)

    def attention_mask(self) -> Tensor:
        """(R, 1, T, T) bool, True where a position may attend."""
        same = self.segment_ids[:, :, None] == self.segment_ids[:, None, :]
        prefix = (self.segment_ids[:, None, :] == PREFIX_SEGMENT) & self.sees_image[:, :, None]
        steps = torch.arange(self.input_ids.shape[1], device=self.input_ids.device)
        causal = steps[:, None] >= steps[None, :]
        return ((same | prefix) & causal).unsqueeze(1)


class Packer:
    """Turns rows of examples into a `Batch`."""

    def __init__(self, model: MultitaskModel, max_length: int, *, text_only: bool = False) -> None:
        """Keeps what it needs of a model.

        Args:
            model: encodes texts, images and targets.
            max_length: positions of a row at most; examples that don't fit any more are left out and counted.
            text_only: no example sees its image; the images still own the task tokens.
        """
        self.format = model.format
        self.encoder = model.encoder
        self.decoders = {d.token: d for d in model.decoders.values()}
        self.max_length = max_length
        self.text_only = text_only
        self.left_out = 0

    def __call__(self, rows: Sequence[Sequence[Example]]) -> Batch:
        """Packs each of R lists of examples into one row; the examples with an image in a row must share it."""
        images: list[Image.Image] = []
        places: dict[int, int] = {}

        def place(image: Image.Image) -> int:
            if id(image) not in places:
                places[id(image)] = len(images)
                images.append(image)
            return places[id(image)]

        task_names = tuple(sorted({e.task for row in rows for e in row}))
        found: dict[str, list[tuple[int, int, int, Any]]] = {}
        packed = []
        row_images = []
        for r, examples in enumerate(rows):
            seen = [None if self.text_only else e.image for e in examples]
            image = next((i for i in seen if i is not None), None)
            row_images.append(-1 if image is None else place(image))
            row = _Row(self._prefix(image is not None))
            for example, seen_image in zip(examples, seen, strict=True):
                prompt, reply = self.format.prompt_ids(example.prompt), self.format.reply_ids(example.reply)
                if seen_image is None and self.format.bos_id is not None:
                    prompt = [self.format.bos_id, *prompt]
                if len(row.ids) + len(prompt) + len(reply) > self.max_length:
                    self.left_out += 1
                    continue
                start = len(row.ids) + len(prompt)
                row.add(prompt, reply, seen_image is not None, task_names.index(example.task))
                for token, targets in example.targets.items():
                    token_id = self.format.tokenizer.convert_tokens_to_ids(token)
                    positions = [start + i for i, t in enumerate(reply) if t == token_id]
                    for position, target in zip(positions, targets, strict=True):
                        owner = self.decoders[token].target_image(example.image, target)
                        encoded = self.decoders[token].encode_target(target)
                        assert owner is not None
                        found.setdefault(token, []).append((r, position, place(owner), encoded))
            packed.append(row)
        return self._batch(packed, row_images, images, task_names, found)

    def _prefix(self, with_image: bool) -> list[int]:
        if not with_image:
            return []
        rows, columns = self.encoder.grid
        bos = [] if self.format.bos_id is None else [self.format.bos_id]
        return bos + [IMAGE_PLACE] * (rows * columns)

    def _batch(
        self,
        rows: list[_Row],
        row_images: list[int],
        images: list[Image.Image],
        task_names: tuple[str, ...],
        found: dict[str, list[tuple[int, int, int, Any]]],
    ) -> Batch:
        length = max(len(row.ids) for row in rows)

        def stack(name: str, fill: int | bool) -> Tensor:
            return torch.tensor([(v := getattr(row, name)) + [fill] * (length - len(v)) for row in rows])

        tokens = {}
        for token, entries in found.items():
            r, p, o, t = zip(*entries, strict=True)
            targets = None if t[0] is None else torch.from_numpy(np.stack(t))
            tokens[token] = TokenTargets(torch.tensor(r), torch.tensor(p), torch.tensor(o), targets)
        size = self.encoder.image_size
        return Batch(
            pixel_values=self.encoder.preprocess(images) if images else torch.zeros(0, 3, size, size),
            row_images=torch.tensor(row_images),
            input_ids=stack("ids", self.format.pad_id),
            position_ids=stack("positions", 0),
            segment_ids=stack("segments", PADDING_SEGMENT),
            sees_image=stack("sees_image", False),
            labels=stack("labels", NO_LABEL),
            label_tasks=stack("tasks", 0),
            task_names=task_names,
            tokens=tokens,
        )


class _Row:
    """One row while it grows."""

    def __init__(self, prefix: list[int]) -> None:
        n = len(prefix)
        self.prefix_length = n
        self.ids = list(prefix)
        self.positions = list(range(n))
        self.segments = [PREFIX_SEGMENT] * n
        self.sees_image = [True] * n
        self.labels = [NO_LABEL] * n
        self.tasks = [0] * n
        self.n_segments = 0

    def add(self, prompt: list[int], reply: list[int], sees_image: bool, task: int) -> None:
        self.n_segments += 1
        n = len(prompt) + len(reply)
        first = self.prefix_length if sees_image else 0
        self.ids += prompt + reply
        self.positions += range(first, first + n)
        self.segments += [self.n_segments] * n
        self.sees_image += [sees_image] * n
        # the last position of the prompt predicts the reply's first token, and so on; the reply's end predicts nothing
        self.labels += [NO_LABEL] * (len(prompt) - 1) + reply + [NO_LABEL]
        self.tasks += [task] * n
