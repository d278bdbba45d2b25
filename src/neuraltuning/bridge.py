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

SURE = 4.0
"""Tokens' first score, so that a word is at first almost surely among them."""
CHOICE_SIZE = 64
"""Hidden width of the choice of words."""
PLACES = 16
"""Places of a mention, from its start and from its end, that are told apart."""
PRIOR = 10
"""So many states count for the usual deviation of a coordinate."""
SMALLEST = 1e-2
"""Deviation of a principal component, in units of the first one's, below which it isn't blown up further."""
FIT_STEPS = 150
FIT_BATCH = 256
FIT_RATE = 3e-3


@dataclass
class Readings:
    """What a bridge reads of N task tokens.

    Attributes:
        states: (N, sources * D) float32, the hidden states of its sources.
        said: (N, M, D) float32, the LLM's input vectors of the tokens of the *mention*, the text that the task token
            closes, relative to the mean input vector.
        in_mention: (N, M) bool, False for padding, which stands behind.
    """

    states: Tensor
    said: Tensor
    in_mention: Tensor

    @staticmethod
    def join(parts: Sequence[Readings]) -> Readings:
        """One after the other, padded to the longest mention."""
        longest = max(part.in_mention.shape[1] for part in parts)

        def stack(name: str) -> Tensor:
            found = [getattr(part, name) for part in parts]
            return torch.cat([F.pad(t, (0, 0) * (t.ndim - 2) + (0, longest - t.shape[1])) for t in found])

        return Readings(torch.cat([part.states for part in parts]), stack("said"), stack("in_mention"))

    def select(self, index: Tensor) -> Readings:
        """Some of them, index (n,) int64."""
        return Readings(self.states[index], self.said[index], self.in_mention[index])


class WordChoice(nn.Module):
    """Which tokens of a mention name what it is about ("dog" and "cat" in "the dog left of the cat").

    It sees each token with its two neighbours and its place, and no hidden state: so it chooses the same in any context
    and whatever the tuner does to the language model. At first all tokens count the same. A word may be in none of them
    ("the object in the corner" names no class): the tokens compete with a score of zero that stands for that.
    """

    def __init__(self, hidden_size: int, n_words: int) -> None:
        super().__init__()
        self.reader = nn.Conv1d(hidden_size, CHOICE_SIZE, kernel_size=3, padding=1)
        self.from_start = nn.Embedding(PLACES, CHOICE_SIZE)
        self.from_end = nn.Embedding(PLACES, CHOICE_SIZE)
        self.choice = nn.Linear(CHOICE_SIZE, n_words)
        nn.init.zeros_(self.choice.weight)
        nn.init.constant_(self.choice.bias, SURE)

    def forward(self, said: Tensor, in_mention: Tensor) -> Tensor:
        """(N, M, D) and (N, M), as in `Readings` -> (N, n_words, M) shares of the tokens.

        They add up to the probability that the word is among them.
        """
        if not said.shape[1]:
            return said.new_zeros(len(said), self.choice.out_features, 0)
        place = torch.arange(said.shape[1], device=said.device).expand(in_mention.shape)
        left = in_mention.sum(1, keepdim=True) - 1 - place
        tokens = F.layer_norm(said, said.shape[-1:]) * in_mention[..., None]
        x = self.reader(tokens.transpose(1, 2)).transpose(1, 2)
        x = x + self.from_start(place.clamp_max(PLACES - 1)) + self.from_end(left.clamp(0, PLACES - 1))
        scores = self.choice(F.gelu(x)).transpose(1, 2)
        scores = scores.masked_fill(~in_mention[:, None], torch.finfo(scores.dtype).min)
        return F.pad(scores, (0, 1)).softmax(-1)[..., :-1]


class Bridge(nn.Module):
    """Maps the readings of a task token to one state: a few words, then free entries.

    A *word* is a weighted mean of the mention's input vectors: what the token is about, in the LLM's input space, where
    it can be compared with projected image tokens. Its length is the probability that the mention has such a word.
    Nothing is learnt of a word itself, so that classes which no training ever showed are found too. The free entries
    are a linear map of the hidden states.

    The standardisation of states is fixed: `fit` sets it once from data, else it is the identity. Hidden states of
    language models have a few coordinates thousands of times larger than the others, which would drown them.
    """

    mean: Tensor
    scale: Tensor
    word_mean: Tensor

    def __init__(self, sources: Sequence[tuple[str, int]], word_mean: Tensor, shape: StateShape) -> None:
        """Makes an untrained bridge, whose words are the plain means of their mentions.

        Args:
            sources: (position, layer) pairs: position "predicting" or "token"; layer 0 is the embedding, k the output
                of the k-th decoder layer.
            word_mean: (D,) the LLM's mean input vector.
            shape: of the state; without words, mentions are not read (the papers' wiring).
        """
        super().__init__()
        self.sources = tuple(sources)
        width = shape.hidden_size * len(self.sources)
        self.register_buffer("word_mean", word_mean, persistent=False)
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.n_words = shape.words
        self.free = nn.Linear(width, shape.free)
        self.word_choice = WordChoice(shape.hidden_size, shape.words) if shape.words else None

    @property
    def layers(self) -> set[int]:
        """The layers that are read."""
        return {layer for _, layer in self.sources}

    def read(
        self,
        embeds: Tensor,
        hidden_states: Sequence[Tensor] | Mapping[int, Tensor],
        rows: Tensor,
        starts: Tensor,
        positions: Tensor,
    ) -> Readings:
        """Reads N task tokens.

        Args:
            embeds: (B, T, D) the LLM's input vectors.
            hidden_states: tensors (B, T, D) by layer, at least those of `layers`.
            rows: (N,) int64, the token's sequence in the batch.
            starts: (N,) int64, the first position of its mention, which ends before the token.
            positions: (N,) int64, the position *of the token*; the position that predicts it is one before.
        """
        at = {"predicting": positions - 1, "token": positions}
        states = torch.cat([hidden_states[layer][rows, at[place]].float() for place, layer in self.sources], dim=-1)
        return Readings(states, *self._mentions(embeds, rows, starts, positions))

    def read_one(self, mention: Tensor, states: Mapping[str, Mapping[int, Tensor]]) -> Readings:
        """Reads one task token whose text and states are at hand; what `read` gives for it.

        Args:
            mention: (M, D) the LLM's input vectors of the tokens of its mention.
            states: "predicting" and "token" -> hidden states (D,) there by layer, at least those of `layers`.
        """
        read = torch.cat([states[place][layer].float() for place, layer in self.sources])
        said = mention[: len(mention) if self.n_words else 0].float() - self.word_mean
        return Readings(read[None], said[None], torch.ones(1, len(said), dtype=torch.bool, device=said.device))

    def read_words(self, embeds: Tensor, rows: Tensor, starts: Tensor, positions: Tensor) -> Tensor:
        """The states of N task tokens as far as the text alone tells: (N, shape.size), the free entries zero.

        Args:
            embeds: (B, T, D) the LLM's input vectors; no pass of it is needed.
            rows, starts, positions: as in `read`.
        """
        said, in_mention = self._mentions(embeds, rows, starts, positions)
        states = torch.zeros(len(rows), self.mean.shape[0], device=embeds.device)
        words = self(Readings(states, said, in_mention))[:, : -self.free.out_features]
        return F.pad(words, (0, self.free.out_features))

    def _mentions(self, embeds: Tensor, rows: Tensor, starts: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        longest = int((positions - starts).max()) if self.n_words else 0
        steps = starts[:, None] + torch.arange(longest, device=starts.device)
        said = embeds[rows[:, None], steps.clamp_max(embeds.shape[1] - 1)].float() - self.word_mean
        return said, steps < positions[:, None]

    def fit(self, readings: Readings, about: Tensor | None) -> None:
        """Sets the standardisation and a start for the free entries, and teaches the choice of words.

        Args:
            readings: of many task tokens.
            about: (N, n_words, D) what each word should be, a zero vector where the mention has none; None leaves the
                plain means.
        """
        with torch.no_grad():
            self.mean.copy_(readings.states.mean(0))
            self.scale.copy_(_inverse_deviation(readings.states))
            self._fit_free(self._standard(readings))
        if about is None or self.word_choice is None:
            return
        known = about.norm(dim=-1) > 0
        optimizer = torch.optim.Adam(self.word_choice.parameters(), lr=FIT_RATE)
        generator = torch.Generator().manual_seed(0)
        for _ in range(FIT_STEPS):
            some = torch.randint(len(about), (FIT_BATCH,), generator=generator).to(about.device)
            words = self.words(readings.select(some))
            loss = F.mse_loss(words.norm(dim=-1), known[some].float())
            if known[some].any():
                loss = loss + 1.0 - F.cosine_similarity(words, about[some], dim=-1)[known[some]].mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def _fit_free(self, standard: Tensor) -> None:
        """The free entries start as the states' whitened principal components."""
        count = self.free.out_features
        if min(standard.shape) <= count:
            return  # too few to tell directions by
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            _, deviations, directions = torch.pca_lowrank(standard, q=count, center=False)
        deviations = deviations / len(standard) ** 0.5
        self.free.weight.copy_((directions / deviations.clamp_min(SMALLEST * deviations[0])).T)
        self.free.bias.zero_()

    def words(self, readings: Readings) -> Tensor:
        """(N, n_words, D) float32, at most of unit length; zero where there is no mention."""
        assert self.word_choice is not None
        shares = self.word_choice(readings.said, readings.in_mention)
        return F.normalize(shares @ readings.said, dim=-1) * shares.sum(-1, keepdim=True)

    def forward(self, readings: Readings) -> Tensor:
        """Readings -> states (N, shape.size) float32, the words first."""
        free = self.free(self._standard(readings))
        return free if self.word_choice is None else torch.cat([self.words(readings).flatten(1), free], dim=-1)

    def _standard(self, readings: Readings) -> Tensor:
        return (readings.states - self.mean) * self.scale


def _inverse_deviation(states: Tensor) -> Tensor:
    """1 over the standard deviation; that of few states is drawn towards the usual one."""
    variance = states.var(0, correction=0)
    n = len(states)
    usual = variance.median() if n > 1 else states.new_ones(())
    return ((n * variance + PRIOR * usual) / (n + PRIOR)).clamp_min(1e-12).rsqrt()
