"""From the language model's hidden states to the state that a decoder gets. Knows nothing of tokens or decoders.

The papers feed a decoder the last layer's state at the task token. On a small LLM that state hardly tells what the
token is about, while the middle layers at the position that predicts the token do; `sources` says which are read.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

POSITIONS = ("predicting", "token")


RIDGE = 0.03
"""Of the closed-form start, in units of the mean diagonal of the states' covariance."""


class Bridge(nn.Module):
    """Standardises the chosen hidden states, concatenates them and maps them to one state.

    The first D entries of the state are the *word*: what the token is about, in the LLM's input space, so that it can
    be compared with projected image tokens. The other entries are free. `fit` gives the word a closed-form start.

    The standardisation is fixed: `fit` sets it once from data, else it is the identity. Hidden states of language
    models have a few coordinates thousands of times larger than the others, which would drown them.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, sources: Sequence[tuple[str, int]], hidden_size: int, free_size: int) -> None:
        """Makes an untrained bridge.

        Args:
            sources: (position, layer) pairs: position "predicting" or "token"; layer 0 is the embedding, k the output
                of the k-th decoder layer.
            hidden_size: D of the LLM.
            free_size: entries of the state beside the word.
        """
        super().__init__()
        self.sources = tuple(sources)
        self.hidden_size = hidden_size
        width = hidden_size * len(self.sources)
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.linear = nn.Linear(width, hidden_size + free_size)

    def gather(self, hidden_states: Sequence[Tensor], rows: Tensor, positions: Tensor) -> Tensor:
        """Reads the sources of N task tokens.

        Args:
            hidden_states: L + 1 tensors (B, T, D), embeddings first.
            rows: (N,) int64, the token's sequence in the batch.
            positions: (N,) int64, the position *of the token*; the position that predicts it is one before.

        Returns:
            (N, len(sources) * D) float32.
        """
        at = {"predicting": positions - 1, "token": positions}
        return torch.cat([hidden_states[layer][rows, at[position]].float() for position, layer in self.sources], dim=-1)

    @torch.no_grad()
    def fit(self, gathered: Tensor, words: Tensor | None) -> None:
        """Sets the standardisation, and the word by ridge regression.

        Args:
            gathered: (N, len(sources) * D) states.
            words: (N, D) what each token is about, at unit length; None leaves the word's start to chance.
        """
        self.mean.copy_(gathered.mean(0))
        deviation = gathered.std(0)
        self.scale.copy_(1.0 / deviation.clamp_min(1e-3 * deviation.mean()))
        if words is None:
            return
        x = ((gathered - self.mean) * self.scale).double()
        y = words.double()
        gram = x @ x.T  # N is smaller than the width: solve in the dual
        gram.diagonal().add_(RIDGE * gram.diagonal().mean())
        weight = x.T @ torch.linalg.solve(gram, y - y.mean(0))
        self.linear.weight[: self.hidden_size].copy_(weight.T)
        self.linear.bias[: self.hidden_size].copy_(y.mean(0))

    def forward(self, gathered: Tensor) -> Tensor:
        """(N, len(sources) * D) float32 -> (N, D + free_size) float32, the word first."""
        return self.linear((gathered - self.mean) * self.scale)
