"""From the language model's states to the state that a decoder gets. Knows nothing of tokens or decoders.

The papers feed a decoder the last layer's state at the task token. On a small LLM that state hardly tells what the
token is about, while middle layers do, and so do the words that stand before the token ("The cat below the umbrella
<OBJ>"); the settings say which states are read and how many words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neuraltuning.decoders.base import StateShape

QUERY_SIZE = 64
"""Of the attention that chooses words."""
FIT_STEPS = 60
FIT_RATE = 0.02


@dataclass
class Readings:
    """What a bridge reads of N task tokens.

    Attributes:
        states: (N, sources * D) float32, the hidden states of its sources.
        said: (N, M, D) float32, the LLM's input vectors of the tokens of the *mention*, the text that the task token
            closes, relative to the mean input vector.
        keys: (N, M, D) float32, the mention's hidden states of the layer that words are chosen by.
        in_mention: (N, M) bool, False for padding.
    """

    states: Tensor
    said: Tensor
    keys: Tensor
    in_mention: Tensor

    @staticmethod
    def join(parts: Sequence[Readings]) -> Readings:
        """One after the other, padded to the longest mention."""
        longest = max(part.in_mention.shape[1] for part in parts)

        def stack(name: str) -> Tensor:
            found = [getattr(part, name) for part in parts]
            return torch.cat([F.pad(t, (0, 0) * (t.ndim - 2) + (0, longest - t.shape[1])) for t in found])

        return Readings(torch.cat([part.states for part in parts]), stack("said"), stack("keys"), stack("in_mention"))


class Bridge(nn.Module):
    """Maps the readings of a task token to one state: a few words, then free entries.

    A *word* is a mean of the mention's input vectors, weighted by attention and brought to unit length: what the token
    is about, in the LLM's input space, where it can be compared with projected image tokens. Nothing is learnt of a
    word itself, so that classes which no training ever showed are found too. The free entries are a linear map of the
    hidden states.

    The standardisation of states is fixed: `fit` sets it once from data, else it is the identity. Hidden states of
    language models have a few coordinates thousands of times larger than the others, which would drown them.
    """

    mean: Tensor
    scale: Tensor
    key_mean: Tensor
    key_scale: Tensor
    word_mean: Tensor

    def __init__(
        self, sources: Sequence[tuple[str, int]], word_mean: Tensor, shape: StateShape, word_layer: int
    ) -> None:
        """Makes an untrained bridge, whose words are the plain means of their mentions.

        Args:
            sources: (position, layer) pairs: position "predicting" or "token"; layer 0 is the embedding, k the output
                of the k-th decoder layer.
            word_mean: (D,) the LLM's mean input vector.
            shape: of the state; without words, mentions are not read (the papers' wiring).
            word_layer: the layer whose states choose the words.
        """
        super().__init__()
        self.sources = tuple(sources)
        self.n_words, self.word_layer = shape.words, word_layer
        hidden_size = shape.hidden_size
        width = hidden_size * len(self.sources)
        self.register_buffer("word_mean", word_mean, persistent=False)
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.register_buffer("key_mean", torch.zeros(hidden_size))
        self.register_buffer("key_scale", torch.ones(hidden_size))
        self.free = nn.Linear(width, shape.free)
        if shape.words:
            self.queries = nn.Linear(width, shape.words * QUERY_SIZE)
            self.keys = nn.Linear(hidden_size, QUERY_SIZE)
            nn.init.zeros_(self.queries.weight)
            nn.init.zeros_(self.queries.bias)

    @property
    def layers(self) -> set[int]:
        """The layers that are read."""
        return {0, self.word_layer, *(layer for _, layer in self.sources)}

    def read(
        self, hidden_states: Sequence[Tensor] | Mapping[int, Tensor], rows: Tensor, starts: Tensor, positions: Tensor
    ) -> Readings:
        """Reads N task tokens.

        Args:
            hidden_states: tensors (B, T, D) by layer, at least those of `layers`.
            rows: (N,) int64, the token's sequence in the batch.
            starts: (N,) int64, the first position of its mention, which ends before the token.
            positions: (N,) int64, the position *of the token*; the position that predicts it is one before.
        """
        at = {"predicting": positions - 1, "token": positions}
        states = torch.cat([hidden_states[layer][rows, at[place]].float() for place, layer in self.sources], dim=-1)
        longest = int((positions - starts).max()) if self.n_words else 0
        steps = starts[:, None] + torch.arange(longest, device=starts.device)
        in_mention = steps < positions[:, None]
        where = rows[:, None], steps.clamp_max(hidden_states[0].shape[1] - 1)
        said = hidden_states[0][where].float() - self.word_mean
        return Readings(states, said, hidden_states[self.word_layer][where].float(), in_mention)

    def fit(self, readings: Readings, about: Tensor | None) -> None:
        """Sets the standardisation, and a start for the choice of words.

        Args:
            readings: of many task tokens.
            about: (N, n_words, D) what each word should be, a zero vector where that isn't known; None leaves the plain
                means.
        """
        with torch.no_grad():
            self.mean.copy_(readings.states.mean(0))
            self.scale.copy_(_inverse_deviation(readings.states))
            self._fit_free(self._standard(readings))
            if self.n_words:
                keys = readings.keys[readings.in_mention]
                self.key_mean.copy_(keys.mean(0))
                self.key_scale.copy_(_inverse_deviation(keys))
        if about is None or not self.n_words:
            return
        chosen = [*self.queries.parameters(), *self.keys.parameters()]
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.queries.weight.normal_(std=0.1 * self.queries.in_features**-0.5)
        optimizer = torch.optim.Adam(chosen, lr=FIT_RATE)
        known = about.norm(dim=-1) > 0
        for _ in range(FIT_STEPS):
            optimizer.zero_grad(set_to_none=True)
            loss = 1.0 - F.cosine_similarity(self.words(readings), about, dim=-1)[known].mean()
            loss.backward()
            optimizer.step()
        for parameter in chosen:
            parameter.grad = None

    def _fit_free(self, standard: Tensor) -> None:
        """The free entries start as the states' whitened principal components, as many as there are."""
        count = min(self.free.out_features, *standard.shape)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            _, deviations, directions = torch.pca_lowrank(standard, q=count, center=False)
        deviations = deviations / len(standard) ** 0.5
        self.free.weight[:count].copy_((directions / deviations.clamp_min(1e-3 * deviations[0])).T)
        self.free.bias.zero_()

    def words(self, readings: Readings) -> Tensor:
        """(N, n_words, D) float32 at unit length; zero where there is no mention."""
        keys = self.keys((readings.keys - self.key_mean) * self.key_scale)
        queries = self.queries(self._standard(readings)).unflatten(-1, (self.n_words, QUERY_SIZE))
        scores = torch.einsum("nkq,nmq->nkm", queries, keys) * QUERY_SIZE**-0.5
        outside = ~readings.in_mention[:, None]
        weights = scores.masked_fill(outside, torch.finfo(scores.dtype).min).softmax(-1).masked_fill(outside, 0.0)
        return F.normalize(weights @ readings.said, dim=-1)

    def forward(self, readings: Readings) -> Tensor:
        """Readings -> states (N, shape.size) float32, the words first."""
        free = self.free(self._standard(readings))
        return torch.cat([self.words(readings).flatten(1), free], dim=-1) if self.n_words else free

    def _standard(self, readings: Readings) -> Tensor:
        return (readings.states - self.mean) * self.scale


def _inverse_deviation(states: Tensor) -> Tensor:
    deviation = states.std(0)
    return 1.0 / deviation.clamp_min(1e-3 * deviation.mean())
