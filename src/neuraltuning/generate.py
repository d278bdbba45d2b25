"""Continuing sequences with a KV cache, a token a step; sequences join and leave between steps.

On the way the states of task tokens are collected. transformers' `generate` and its continuous batching see neither
the task tokens' rows nor the hidden states of chosen layers nor image embeddings, hence this loop. Knows nothing of
decoders.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from neuraltuning.bridge import Readings
from neuraltuning.kv_cache import KeysAndValues, RowCache
from neuraltuning.packing import IMAGE_PLACE

if TYPE_CHECKING:
    from neuraltuning.model import MultitaskModel

Choice = Callable[[Tensor], int]
"""Chooses the next token by (vocabulary,) float32 logits."""

PADDING = 48
"""So many positions of padding in a pass cost as much as another pass."""
BLOCK = 32
"""Attention takes the positions of a pass in blocks of so many."""
FEWEST = 4
"""Positions of a block: kernels for fewer sum up in another order, and a sequence's replies could depend on others'."""
ALL = 8192
"""Positions that are read in one pass where nobody waits for anything else."""


@dataclass(frozen=True, eq=False)
class Start:
    """A sequence to be continued.

    Attributes:
        ids: its token ids, `IMAGE_PLACE` where image tokens go.
        image_tokens: (`model.image_length`, D) projected tokens of its image, or None.
        said: the place in `ids` where the first mention begins: their end where there is an image, else the prompt.
        longest: the longest reply in tokens; 0 reads the sequence and continues it not.
        choose: None takes the likeliest token.
        kept: keys and values of its first positions.
        n_kept: how many positions.
    """

    ids: Sequence[int]
    image_tokens: Tensor | None
    said: int
    longest: int
    choose: Choice | None = None
    kept: KeysAndValues | None = None
    n_kept: int = 0


class Growing:
    """A sequence in a `RunningBatch`.

    Attributes:
        start: what it began as.
        reply: the token ids of its reply so far, without its end.
    """

    def __init__(self, start: Start) -> None:
        self.start = start
        self.reply: list[int] = []
        self.read = start.n_kept
        self.unread = list(start.ids[start.n_kept :])
        self.mention = list(start.ids[start.said :])
        self.whole = bool(self.mention)  # the prompt belongs to every mention where there is no image
        self.predicting: Tensor | None = None  # the states that the last token was chosen by, where it is a task token


@dataclass(frozen=True, eq=False)
class Said:
    """What a pass gave one sequence.

    Attributes:
        growing: the sequence.
        token: the token that was chosen, None at the reply's end.
        decoder: the name of the decoder whose task token was the token *before*, or None.
        reading: what that decoder's bridge reads for it.
        finished: why the reply ended; nothing more is said, and the sequence may leave.
    """

    growing: Growing
    token: int | None
    decoder: str | None = None
    reading: Readings | None = None
    finished: Literal["stop", "length"] | None = None


class RunningBatch:
    """Sequences that one model continues together.

    Those that are still to be read stand behind those that are continued. Each of them gets what it would get alone, as
    far as the kernels of a matrix product give a row the same whatever the other rows are.
    """

    def __init__(self, model: MultitaskModel) -> None:
        """Begins without sequences.

        Args:
            model: in evaluation mode.
        """
        self.model = model
        self.cache = RowCache()
        self._rows: list[Growing] = []
        self._n_running = 0
        self._decoders = {int(i): name for i, name in zip(model.task_tokens.ids, model.decoders, strict=True)}
        self._layers = sorted({layer for name in model.decoders for layer in model.bridge(name).layers})

    @property
    def running(self) -> Sequence[Growing]:
        """The sequences that are continued."""
        return self._rows[: self._n_running]

    @property
    def unread(self) -> Sequence[Growing]:
        """The sequences that are not read to their end yet."""
        return self._rows[self._n_running :]

    def join(self, starts: Sequence[Start]) -> list[Growing]:
        """Takes in sequences; nothing is read yet. All of those before must be read."""
        assert not self.unread
        joined = [Growing(start) for start in starts]
        for growing in sorted(joined, key=lambda g: len(g.unread)):  # so that rows of one pass are about equally long
            if growing.start.kept is not None:
                self.cache.put(len(self._rows), growing.start.kept, growing.start.n_kept)
                growing.start = replace(growing.start, kept=None)  # not to hold it as long as the sequence grows
            self._rows.append(growing)
        return joined

    def leave(self, growing: Growing) -> None:
        """Ends a sequence, whether it is finished or not; one that has left already is passed over."""
        if growing not in self._rows:
            return
        row = self._rows.index(growing)
        if row < self._n_running:  # the last of its kind moves into its place, so that rows stay together
            self._n_running -= 1
            self._move(self._n_running, row)
            row = self._n_running
        for behind in range(row + 1, len(self._rows)):
            self._move(behind, behind - 1)
        self._rows.pop()
        self.cache.shrink(max((g.read + len(g.unread) for g in self._rows), default=0))

    def keep(self, growing: Growing, length: int) -> KeysAndValues:
        """A copy of a sequence's first keys and values, for others that begin as it does."""
        return self.cache.copy(self._rows.index(growing), length)

    def read(self, positions: int) -> list[Said]:
        """Reads on in sequences that joined, in one pass of about so many positions at most.

        Returns:
            What was said by those that are read to their end, which are continued from now on.
        """
        waiting = self.unread
        width = count = 0
        for growing in waiting:
            length = min(positions, len(growing.unread))
            wasted = sum(length - len(g.unread) for g in waiting[:count])
            if count and (length * (count + 1) > positions or wasted > PADDING):
                break
            width, count = length, count + 1
        if not count:
            return []
        rest = width % BLOCK
        width += FEWEST - rest if 0 < rest < FEWEST else 0
        first = self._n_running
        self._n_running += sum(len(g.unread) <= width for g in waiting[:count])
        return self._pass(first, count, width)

    def step(self) -> list[Said]:
        """One token more for each sequence that is continued."""
        return self._pass(0, self._n_running, 1) if self._n_running else []

    def _move(self, source: int, target: int) -> None:
        if source != target:
            self.cache.move(source, target, self._rows[source].read)
            self._rows[target] = self._rows[source]

    @torch.no_grad()
    def _pass(self, first: int, count: int, width: int) -> list[Said]:
        rows = self._rows[first : first + count]
        lengths = [min(width, len(g.unread)) for g in rows]
        output = self._run(rows, lengths, first, width)
        device = output.last_hidden_state.device
        for growing, length in zip(rows, lengths, strict=True):
            growing.read += length
            del growing.unread[:length]
        done = [place for place, g in enumerate(rows) if not g.unread and g.start.longest]
        if not done:
            return []
        at = torch.tensor([lengths[place] - 1 for place in done], device=device)
        last = output.last_hidden_state[torch.tensor(done, device=device), at]
        logits = self.model.logits(last.expand(2, -1) if len(last) == 1 else last)
        likeliest = logits.argmax(-1).tolist()
        said = []
        for number, place in enumerate(done):
            states = _States(output.hidden_states, self._layers, place, lengths[place] - 1)
            choose = rows[place].start.choose
            token = likeliest[number] if choose is None else choose(logits[number])
            said.append(self._say(rows[place], token, states))
        return said

    def _run(self, rows: Sequence[Growing], lengths: Sequence[int], first: int, width: int) -> Any:
        """Runs the language model on the next positions of some rows; its output is (B, width, D), padded behind.

        A single position goes in company, because kernels for a product with one row sum up in another order.
        """
        model = self.model
        pad = model.format.pad_id
        ids = [g.unread[:n] + [pad] * (width - n) for g, n in zip(rows, lengths, strict=True)]
        read = [g.read for g in rows]
        if len(rows) == width == 1:
            behind = self._rows[first + 1 : first + 2]
            ids, lengths, read = [*ids, [pad]], [*lengths, 1], [*read, *([g.read for g in behind] or [0])]
        seen = [_image_vectors(g, n) for g, n in zip(rows, lengths, strict=False)]
        vectors = [v for v in seen if v is not None]
        image = (torch.cat(vectors)[None], torch.tensor([0], device=model.device)) if vectors else ()
        embeds = model.embed(torch.tensor(ids, device=model.device), *image)
        starts = torch.tensor(read, device=model.device)
        self.cache.begin(first, starts, width, max(read))
        steps = torch.arange(width, device=model.device)
        places = starts[:, None] + steps
        last = starts + torch.tensor(lengths, device=model.device) - 1
        slots = torch.arange(self.cache.seen, device=model.device)
        mask = model.masks(lambda window: _allowed(slots, places, window))
        positions = torch.minimum(places, last[:, None])  # padding's must not leave the model's table
        return model.hidden_states(
            embeds, attention_mask=mask, position_ids=positions, past_key_values=self.cache, use_cache=True
        )

    def _say(self, growing: Growing, token: int, states: _States) -> Said:
        """What one sequence says; `token` is what it would say next, `states` are those that it was chosen by."""
        decoder, reading = None, None
        if growing.reply:
            decoder = self._decoders.get(growing.reply[-1])
            if decoder is not None:
                reading = self._reading(growing, decoder, states.all())
            growing.mention.append(growing.reply[-1])
            if decoder is not None and not growing.whole:
                growing.mention = []
        if len(growing.reply) == growing.start.longest:  # its last token was a task token, which had to be read
            return Said(growing, None, decoder, reading, "length")
        if token == self.model.format.eos_id:
            return Said(growing, None, decoder, reading, "stop")
        growing.reply.append(token)
        growing.unread = [token]
        growing.predicting = states.all() if token in self._decoders else None
        full = len(growing.reply) == growing.start.longest and token not in self._decoders
        return Said(growing, token, decoder, reading, "length" if full else None)

    def _reading(self, growing: Growing, decoder: str, at_token: Tensor) -> Readings:
        assert growing.predicting is not None
        mention = torch.tensor(growing.mention, dtype=torch.int64, device=self.model.device)
        predicting = dict(zip(self._layers, growing.predicting, strict=True))
        states = {"predicting": predicting, "token": dict(zip(self._layers, at_token, strict=True))}
        return self.model.bridge(decoder).read_one(self.model.embed(mention[None])[0], states)


@dataclass(frozen=True, eq=False)
class _States:
    """The states of one position in a pass, taken out of it only when they are wanted."""

    hidden_states: Sequence[Tensor]
    layers: Sequence[int]
    row: int
    position: int

    def all(self) -> Tensor:
        """(layers, D) float32."""
        return torch.stack([self.hidden_states[layer][self.row, self.position].float() for layer in self.layers])


@dataclass
class TokenStates:
    """The occurrences of one task token in generated replies.

    Attributes:
        rows: the sequence that each stands in, in the order of generation.
        readings: what the bridge reads for each.
    """

    rows: list[int]
    readings: Readings


@dataclass
class Generated:
    """Replies as token ids, and the states of their task tokens by the decoders' names."""

    ids: list[list[int]]
    tokens: dict[str, TokenStates] = field(default_factory=dict)


def generate(
    model: MultitaskModel,
    prompts: Sequence[Sequence[int]],
    image_tokens: Tensor | None,
    row_images: Tensor,
    max_new_tokens: Sequence[int],
) -> Generated:
    """Continues each prompt until its end token, the likeliest token at each step.

    What stands before the prompt is read once for each image that several prompts are about.

    Args:
        model: in evaluation mode.
        prompts: token ids of B prompts.
        image_tokens: (I, `model.image_length`, D) projected tokens of the distinct images, or None.
        row_images: (B,) int64, each prompt's image; -1 for none.
        max_new_tokens: the longest reply of each prompt.
    """
    batch = RunningBatch(model)
    images = row_images.tolist()
    shared = sorted({image for image in images if image >= 0 and images.count(image) > 1})
    openings = _read_openings(batch, shared, image_tokens)
    starts = []
    for prompt, image, longest in zip(prompts, images, max_new_tokens, strict=True):
        ids = [*opening(model, image >= 0), *prompt]
        seen = None if image < 0 or image_tokens is None else image_tokens[image]
        said = len(ids) if image >= 0 else 0
        kept = openings.get(image)
        starts.append(Start(ids, seen, said, longest, None, kept, len(opening(model, True)) if kept else 0))
    growing = batch.join(starts)
    rows = {id(g): row for row, g in enumerate(growing)}
    found: dict[str, list[tuple[int, Readings]]] = {name: [] for name in model.decoders}
    while batch.unread or batch.running:
        for one in batch.read(ALL) if batch.unread else batch.step():
            if one.decoder is not None and one.reading is not None:
                found[one.decoder].append((rows[id(one.growing)], one.reading))
            if one.finished:
                batch.leave(one.growing)
    tokens = {
        name: TokenStates([row for row, _ in pairs], Readings.join([reading for _, reading in pairs]))
        for name, pairs in found.items()
        if pairs
    }
    return Generated([g.reply for g in growing], tokens)


def opening(model: MultitaskModel, image: bool) -> list[int]:
    """What stands before the first prompt of a sequence, with an image or without."""
    bos = [] if model.format.bos_id is None else [model.format.bos_id]
    return bos + [IMAGE_PLACE] * (model.image_length if image else 0)


def _read_openings(batch: RunningBatch, images: Sequence[int], image_tokens: Tensor | None) -> dict[int, KeysAndValues]:
    """Reads what stands before the prompts about each of some images."""
    if image_tokens is None or not images:
        return {}
    ids = opening(batch.model, True)
    growing = batch.join([Start(ids, image_tokens[image], len(ids), 0) for image in images])
    while batch.unread:
        batch.read(ALL)
    kept = {image: batch.keep(one, len(ids)) for image, one in zip(images, growing, strict=True)}
    for one in growing:
        batch.leave(one)
    return kept


def _image_vectors(growing: Growing, length: int) -> Tensor | None:
    """The image tokens, (n, D), that belong into the next positions of a sequence."""
    n = growing.unread[:length].count(IMAGE_PLACE)
    if not n:
        return None
    assert growing.start.image_tokens is not None
    before = list(growing.start.ids[: growing.read]).count(IMAGE_PLACE)
    return growing.start.image_tokens[before : before + n]


def _allowed(slots: Tensor, places: Tensor, window: int | None) -> Tensor:
    """(B, 1, T, S) bool, whether positions at `places` (B, T) may attend to `slots` (S,)."""
    allowed = slots <= places[:, :, None]
    if window is not None:
        allowed &= slots > places[:, :, None] - window
    return allowed[:, None]
