"""The requests that one model answers at the moment: reads them, takes steps, decodes what their task tokens mean.

Knows nothing of queues or threads; everything here happens in one thread, but for what `draw` is given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from neuraltuning.decoders.base import Decoder
from neuraltuning.encoders.base import ImageFeatures
from neuraltuning.generate import RunningBatch, Said, Start, opening
from neuraltuning.sampling import sampler
from neuraltuning.serving.answering import Answering, Occurrence
from neuraltuning.serving.engine_types import Counts
from neuraltuning.serving.remembered import Remembered

if TYPE_CHECKING:
    from neuraltuning.model import MultitaskModel

POSITIONS = {"cpu": 256}
"""How many positions are read between two steps, by the kind of device: running replies wait for them."""
OTHER_POSITIONS = 4096


@dataclass(frozen=True, eq=False)
class Drawing:
    """A task token whose decoding may take seconds.

    Attributes:
        answering: the request that it belongs to.
        occurrence: the token.
        decoder: decodes it.
        state: (1, state.size) of the token.
        features: of the request's image; None without one.
        earlier: the states of the reply's earlier tokens of this decoder.
    """

    answering: Answering
    occurrence: Occurrence
    decoder: Decoder
    state: Tensor
    features: ImageFeatures | None
    earlier: Sequence[Tensor] = ()

    def decode(self) -> Any:
        """What the token means, decoded by itself, so that it depends on no other reply; from any thread."""
        return self.decode_together([self])[0]

    @staticmethod
    @torch.no_grad()
    def decode_together(drawings: Sequence[Drawing]) -> list[Any]:
        """What the tokens mean, all for one decoder and either one alone or without an image."""
        first = drawings[0]
        states = torch.cat([*(state for d in drawings for state in d.earlier), *(d.state for d in drawings)])
        known = [number for number, d in enumerate(drawings) for _ in d.earlier]
        whose = [*known, *range(len(drawings))]
        replies = torch.tensor(whose, device=states.device)
        image = first.answering.query.image
        return first.decoder.decode(
            states,
            first.features,
            None if image is None else torch.zeros_like(replies),
            [] if image is None else [(image.height, image.width)] * len(whose),
            [drawings[number].answering.query.seed for number in whose],
            replies,
            len(known),
        )


@dataclass(eq=False)
class _Seen:
    """What a model makes of an image: features for the decoders, tokens for the LLM."""

    features: ImageFeatures
    tokens: Tensor


@dataclass(eq=False)
class ModelWorker:
    """Answers requests with one model.

    Attributes:
        name: the model's.
        model: in evaluation mode.
        remembered: features, image tokens, keys and values; other workers use it too.
        draw: takes what is decoded beside the steps, because it takes seconds.
        counts: what was done so far.
    """

    name: str
    model: MultitaskModel
    remembered: Remembered
    draw: Callable[[Drawing], None]
    counts: Counts = field(default_factory=Counts)

    def __post_init__(self) -> None:
        self._batch = RunningBatch(self.model)
        self._answering: list[Answering] = []
        self._joining: list[Answering] = []
        self._positions = POSITIONS.get(self.model.device.type, OTHER_POSITIONS)

    @property
    def answering(self) -> Sequence[Answering]:
        """The requests in the batch."""
        return self._answering

    def admit(self, request: Answering) -> bool:
        """Takes a request in, which the next `work` begins to read, if it may join now.

        One at a time is read if it is long, and one of those about an image that no one has read yet.
        """
        if self._batch.unread:
            return False
        if request.digest is not None:
            request.kept = self.remembered.get(self._prefix_key(request))
            request.unknown = request.kept is None
            request.n_kept = 0 if request.unknown else len(opening(self.model, True))
            if request.unknown and any(r.unknown and r.digest == request.digest for r in self._joining):
                return False
        unread = sum(len(r.ids) - r.n_kept for r in [*self._joining, request])
        if self._joining and unread > self._positions:
            return False
        self._joining.append(request)
        return True

    def work(self) -> None:
        """Reads on in requests that joined, and takes one step for all others."""
        if self._joining:
            self._join()
        if self._batch.unread:
            self._take(self._batch.read(self._positions))
        if self._batch.running:
            self.counts.steps += 1
            self._take(self._batch.step())

    def drop(self, request: Answering) -> None:
        """Frees a request's place."""
        if request in self._joining:
            self._joining.remove(request)
        if request in self._answering:
            self._answering.remove(request)
        if request.growing is not None:
            self._batch.leave(request.growing)
            request.growing = None

    def fail(self, error: Exception) -> list[Answering]:
        """Ends all requests with an error and begins anew; returns them."""
        failed = [*self._answering, *self._joining]
        self._answering, self._joining = [], []
        self._batch = RunningBatch(self.model)
        for request in failed:
            request.growing = None
            request.fail(error)
        return failed

    def _join(self) -> None:
        joining, self._joining = self._joining, []
        starts = []
        for request in joining:
            request.begun = True
            try:
                starts.append((request, self._start(request)))
            except Exception as error:  # an image that the encoder can't read is that request's affair
                request.fail(error)
        self._answering += [request for request, _ in starts]
        for (request, _), growing in zip(starts, self._batch.join([start for _, start in starts]), strict=True):
            request.growing = growing
            self.counts.prompt_tokens += len(request.ids)
            self.counts.cached_tokens += request.n_kept

    def _start(self, request: Answering) -> Start:
        query = request.query
        if query.image is None:
            image_tokens = None
        else:
            image_tokens = self._see(request).tokens
            self.counts.prefix_hits += not request.unknown
            self.counts.prefix_misses += request.unknown
        choose = sampler(query.temperature, query.top_p, query.seed)
        kept, request.kept = request.kept, None
        return Start(request.ids, image_tokens, request.mention, request.longest, choose, kept, request.n_kept)

    def _see(self, request: Answering, *, count: bool = True) -> _Seen:
        """What the model makes of a request's image, looked at by itself."""
        image = request.query.image
        assert image is not None
        encoder = self.model.encoder
        key = ("features", id(encoder), request.digest)
        known = self.remembered.get(key) is not None
        if count:
            self.counts.image_hits += known
            self.counts.image_misses += not known

        def look() -> ImageFeatures:
            return encoder(encoder.preprocess([image]).to(self.model.device))

        def describe() -> _Seen:
            features = self.remembered.get_or_make(key, look, lambda f: _n_bytes(f.tokens, *f.maps))
            return _Seen(*self.model.describe(features))

        return self.remembered.get_or_make(
            ("image", self.name, request.digest),
            describe,
            lambda seen: _n_bytes(seen.tokens, seen.features.words, seen.features.boxes),
        )

    def _take(self, said: Sequence[Said]) -> None:
        """Hands on what was said, and ends the sequences that are finished."""
        by_growing = {id(request.growing): request for request in self._answering}
        for one in said:
            request = by_growing[id(one.growing)]
            if request.unknown:
                self._remember(request)
            self.counts.completion_tokens += one.token is not None
            try:
                self._hear(request, one)
            except Exception as error:  # an <OBJ> without an image
                request.fail(error)
            if request.ended or request.over:
                self.drop(request)

    def _hear(self, request: Answering, said: Said) -> None:
        reply = said.growing.reply
        if said.decoder is not None and said.reading is not None:
            decoder = self.model.decoder(said.decoder)
            state = self.model.bridge(said.decoder)(said.reading)
            earlier = request.states_of(decoder.token)
            occurrence = request.expect(decoder.token, len(reply) - (said.token is not None), state)
            features = None if request.digest is None else self._see(request, count=False).features
            drawing = Drawing(request, occurrence, decoder, state, features, earlier)
            if decoder.about_input:
                request.found(occurrence, drawing.decode())
            else:
                self.draw(drawing)
        request.grow(reply, said.finished)

    def _remember(self, request: Answering) -> None:
        """Keeps the keys and values of what stands before the prompts about an image."""
        assert request.growing is not None
        request.unknown = False
        kept = self._batch.keep(request.growing, len(opening(self.model, True)))
        self.remembered.put(self._prefix_key(request), kept, kept.n_bytes)

    def _prefix_key(self, request: Answering) -> tuple[str, str, bytes | None]:
        return "prefix", self.name, request.digest


def _n_bytes(*tensors: Tensor | None) -> int:
    return sum(t.numel() * t.element_size() for t in tensors if t is not None)
