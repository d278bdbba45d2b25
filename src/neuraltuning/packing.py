"""From examples to one batch: every image once, its examples packed behind it, blind to each other.

An image's tokens cost more than a question about it, so the examples of one image share them: a group is
`[bos, image tokens, example, example, ...]`, groups stand one after the other in rows of up to `row_length` positions,
and a mask lets each example see its image's tokens and itself alone. So hardly any position is padding.
Knows nothing of networks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from neuraltuning.errors import InputError
from neuraltuning.tasks.base import Example

if TYPE_CHECKING:
    from neuraltuning.data.sample import Sample
    from neuraltuning.model import MultitaskModel

IMAGE_PLACE = -1
"""Stands in `input_ids` where an image token goes."""

SHORT_TEXT = 32
"""Positions that a row must have beside an image's."""

NO_LABEL = -100
NO_SEGMENT = -1
"""The segment of padding, and the context of what has none."""


@dataclass
class TokenTargets:
    """The N occurrences of one task token in a batch.

    Attributes:
        rows, positions: (N,) int64, where the token stands in `input_ids`.
        starts: (N,) int64, the first position of its mention, the text that it closes: since the task token before it
            or the reply's start; where its example has no image, since the prompt's start.
        owners: (N,) int64, the image it belongs to, in `pixel_values`.
        examples: (N,) int64, its example, counted through all groups.
        targets: (N, ...) what the decoder learns from, or None where its owner is all it needs.
    """

    rows: Tensor
    starts: Tensor
    positions: Tensor
    owners: Tensor
    examples: Tensor
    targets: Tensor | None

    def to(self, device: torch.device) -> TokenTargets:
        """The same on another device."""
        moved: dict[str, Any] = {k: v.to(device) for k, v in vars(self).items() if v is not None}
        return replace(self, **moved)


@dataclass
class Batch:
    """R packed rows of T positions over I images.

    Attributes:
        pixel_values: (I, 3, S, S) float32; a blank one where no example has an image.
        image_order: (M,) int64, the images whose tokens fill the `IMAGE_PLACE` positions, in reading order.
        input_ids: (R, T) int64, `IMAGE_PLACE` where image tokens go.
        position_ids: (R, T) int64; each example counts on from its image's tokens.
        segment_ids: (R, T) int64: which example, or which bos with image tokens, a position belongs to; unique in a
            row, `NO_SEGMENT` for padding.
        context_ids: (R, T) int64, the segment that a position may attend to beside its own, or `NO_SEGMENT`.
        labels: (R, T) int64, the token to be predicted at each position, `NO_LABEL` outside replies.
        label_tasks: (R, T) int64, index into `task_names` of the task that a label belongs to.
        task_names: the tasks in this batch.
        tokens: task token -> its occurrences; only tokens that occur.
    """

    pixel_values: Tensor
    image_order: Tensor
    input_ids: Tensor
    position_ids: Tensor
    segment_ids: Tensor
    context_ids: Tensor
    labels: Tensor
    label_tasks: Tensor
    task_names: tuple[str, ...]
    tokens: dict[str, TokenTargets]

    def to(self, device: torch.device) -> Batch:
        """The batch on another device."""
        moved: dict[str, Any] = {k: v.to(device) for k, v in vars(self).items() if isinstance(v, Tensor)}
        return replace(self, **moved, tokens={name: found.to(device) for name, found in self.tokens.items()})

    def attention_mask(self, window: int | None = None) -> Tensor:
        """(R, 1, T, T) bool, True where a position may attend, with `window` only to so many of its last positions."""
        keys = self.segment_ids[:, None, :]
        same = self.segment_ids[:, :, None] == keys
        context = (self.context_ids[:, :, None] == keys) & (keys != NO_SEGMENT)
        steps = torch.arange(self.input_ids.shape[1], device=self.input_ids.device)
        allowed = (same | context) & (steps[:, None] >= steps[None, :])
        if window is not None:
            allowed &= self.position_ids[:, :, None] - self.position_ids[:, None, :] < window
        return allowed.unsqueeze(1)


class Packer:
    """Turns lists of examples into a `Batch`."""

    def __init__(
        self,
        model: MultitaskModel,
        row_length: int,
        *,
        text_only: bool = False,
        describe: Callable[[Sample], list[int]] | None = None,
    ) -> None:
        """Keeps what it needs of a model.

        Args:
            model: encodes texts, images and targets.
            row_length: positions of a row at most; an example that finds no room is left out and counted.
            text_only: no example sees its image; the images still own the task tokens.
            describe: token ids that stand in an image's place then, made from its annotations.

        Raises:
            InputError: a row has no room for an image and a short text.
        """
        self.format = model.format
        self.encoder = model.encoder
        self.image_length = model.image_length
        least = 1 + self.image_length + SHORT_TEXT
        if row_length < least:
            raise InputError(
                f"data.row_length is {row_length}, but the tokens of an image and a short text take {least}; raise it."
            )
        self.decoders = {token: decoder for token, (_, decoder) in model.decoders_by_token.items()}
        self.task_ids = frozenset(model.task_tokens.ids.tolist())
        self.row_length = row_length
        self.text_only = text_only
        self.describe = describe
        self.left_out = 0

    def __call__(self, groups: Sequence[Sequence[Example]]) -> Batch:
        """Packs groups of examples; the examples of a group that have an image share it.

        Raises:
            InputError: no example finds room.
        """
        images = _Images()
        task_names = tuple(sorted({e.task for group in groups for e in group}))
        rows = [_Row()]
        image_order: list[int] = []
        found: dict[str, list[tuple[int, int, int, int, int, Any]]] = {}
        firsts = np.cumsum([0, *map(len, groups)])
        for first, group in zip(firsts.tolist(), groups, strict=False):
            parts = [self._encode(example) for example in group]
            about = next((e for e in group if e.image is not None), None)
            prefix = self._prefix(about)
            if len(rows[-1]) + len(prefix) + sum(len(p) + len(r) + 1 for p, r in parts) > self.row_length and rows[-1]:
                rows.append(_Row())
            row = rows[-1]
            context = row.add_prefix(prefix)
            if IMAGE_PLACE in prefix:
                assert about is not None and about.image is not None
                image_order.append(images.place(about.image))
            for number, (example, (prompt, reply)) in enumerate(zip(group, parts, strict=True), first):
                sees = bool(prefix) and example.image is not None
                if not sees and self.format.bos_id is not None:
                    prompt = [self.format.bos_id, *prompt]
                if len(row) + len(prompt) + len(reply) > self.row_length:
                    self.left_out += 1
                    continue
                start = len(row) + len(prompt)
                after = len(prefix) if sees else 0
                row.add(prompt, reply, context if sees else NO_SEGMENT, after, task_names.index(example.task))
                for token, targets in example.targets.items():
                    for place, target in zip(self._places(token, reply), targets, strict=True):
                        owner = self.decoders[token].target_image(example.image, target)
                        encoded = self.decoders[token].encode_target(target)
                        if owner is None:
                            raise InputError(f"{example.id}: its reply carries {token}, which needs an image; add one.")
                        said = start - len(prompt) if example.image is None else start + self._mention(reply, place)
                        entry = (len(rows) - 1, said, start + place, images.place(owner), number, encoded)
                        found.setdefault(token, []).append(entry)
        if not any(label != NO_LABEL for row in rows for label in row.labels):
            raise InputError(
                f"No example of a batch finds room in rows of {self.row_length} positions; raise data.row_length."
            )
        return self._batch(rows, image_order, images.images, task_names, found)

    def length(self, example: Example) -> int:
        """The positions of a row that an example takes by itself, its image's tokens among them."""
        before = len(self._prefix(None if example.image is None else example))
        bos = 0 if self.format.bos_id is None else 1
        return (before or bos) + sum(map(len, self._encode(example)))

    def fits(self, example: Example) -> bool:
        """Whether a row has room for an example."""
        return self.length(example) <= self.row_length

    def _encode(self, example: Example) -> tuple[list[int], list[int]]:
        return self.format.prompt_ids(example.prompt), self.format.reply_ids(example.reply)

    def _places(self, token: str, reply: list[int]) -> list[int]:
        token_id = self.format.tokenizer.convert_tokens_to_ids(token)
        return [place for place, i in enumerate(reply) if i == token_id]

    def _mention(self, reply: list[int], place: int) -> int:
        """Where the mention begins that the task token at `place` closes."""
        return max((i + 1 for i in range(place) if reply[i] in self.task_ids), default=0)

    def _prefix(self, about: Example | None) -> list[int]:
        """What stands before the examples of a group; `about` is one of those that have an image."""
        if about is None or (self.text_only and self.describe is None):
            return []
        bos = [] if self.format.bos_id is None else [self.format.bos_id]
        if not self.text_only:
            return bos + [IMAGE_PLACE] * self.image_length
        assert self.describe is not None
        return bos + (self.describe(about.sample) if about.sample is not None else [])

    def _batch(
        self,
        rows: list[_Row],
        image_order: list[int],
        images: list[Image.Image],
        task_names: tuple[str, ...],
        found: dict[str, list[tuple[int, int, int, int, int, Any]]],
    ) -> Batch:
        length = max(map(len, rows))

        def stack(name: str, fill: int) -> Tensor:
            return torch.tensor([getattr(row, name) + [fill] * (length - len(row)) for row in rows])

        tokens = {}
        for token, entries in found.items():
            *places, t = zip(*entries, strict=True)
            targets = None if t[0] is None else torch.from_numpy(np.stack(t))
            r, s, p, o, n = (torch.tensor(place) for place in places)
            tokens[token] = TokenTargets(r, s, p, o, n, targets)
        size = self.encoder.image_size
        return Batch(
            # encoders need not take an empty batch
            pixel_values=self.encoder.preprocess(images) if images else torch.zeros(1, 3, size, size),
            image_order=torch.tensor(image_order, dtype=torch.int64),
            input_ids=stack("ids", self.format.pad_id),
            position_ids=stack("positions", 0),
            segment_ids=stack("segments", NO_SEGMENT),
            context_ids=stack("contexts", NO_SEGMENT),
            labels=stack("labels", NO_LABEL),
            label_tasks=stack("tasks", 0),
            task_names=task_names,
            tokens=tokens,
        )


class _Images:
    """The distinct images of a batch, in the order in which they were met."""

    def __init__(self) -> None:
        self.images: list[Image.Image] = []
        self._places: dict[int, int] = {}

    def place(self, image: Image.Image) -> int:
        if id(image) not in self._places:
            self._places[id(image)] = len(self.images)
            self.images.append(image)
        return self._places[id(image)]


class _Row:
    """One row while it grows."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.positions: list[int] = []
        self.segments: list[int] = []
        self.contexts: list[int] = []
        self.labels: list[int] = []
        self.tasks: list[int] = []
        self.n_segments = 0

    def __len__(self) -> int:
        return len(self.ids)

    def add_prefix(self, prefix: list[int]) -> int:
        """Adds bos and image places, and returns their segment."""
        return self._segment(prefix, 0, NO_SEGMENT, [NO_LABEL] * len(prefix), 0)

    def add(self, prompt: list[int], reply: list[int], context: int, first_position: int, task: int) -> None:
        """Adds an example that sees the segment `context`."""
        # the last position of the prompt predicts the reply's first token, and so on; the reply's end predicts nothing
        labels = [NO_LABEL] * (len(prompt) - 1) + reply + [NO_LABEL]
        self._segment(prompt + reply, first_position, context, labels, task)

    def _segment(self, ids: list[int], first_position: int, context: int, labels: list[int], task: int) -> int:
        segment = self.n_segments
        self.n_segments += 1
        self.ids += ids
        self.positions += range(first_position, first_position + len(ids))
        self.segments += [segment] * len(ids)
        self.contexts += [context] * len(ids)
        self.labels += labels
        self.tasks += [task] * len(ids)
        return segment
