"""From the language model's hidden states to the state that a decoder gets. Knows nothing of tokens or decoders.

The papers feed a decoder the last layer's state at the task token. On a small LLM that state hardly tells what the
token is about, while the middle layers at the position that predicts the token do; `sources` says which are read.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

POSITIONS = ("predicting", "token")


class Bridge(nn.Module):
    """Standardises the chosen hidden states, concatenates them and maps them to one state.

    The standardisation is fixed: `fit` sets it once from data, else it is the identity. Hidden states of language
    models have a few coordinates thousands of times larger than the others, which would drown them.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, sources: Sequence[tuple[str, int]], hidden_size: int, state_size: int) -> None:
        """Makes an untrained bridge.

        Args:
            sources: (position, layer) pairs: position "predicting" or "token"; layer 0 is the embedding, k the output
                of the k-th decoder layer.
            hidden_size: D of the LLM.
            state_size: width of the state that decoders get.
        """
        super().__init__()
        self.sources = tuple(sources)
        width = hidden_size * len(self.sources)
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.linear = nn.Linear(width, state_size)

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
    def fit(self, gathered: Tensor) -> None:
        """Sets the standardisation from (N, len(sources) * D) gathered states."""
        self.mean.copy_(gathered.mean(0))
        self.scale.copy_(1.0 / gathered.std(0).clamp_min(1e-3 * gathered.std(0).mean()))

    def forward(self, gathered: Tensor) -> Tensor:
        """(N, len(sources) * D) float32 -> (N, state_size) float32."""
        return self.linear((gathered - self.mean) * self.scale)
