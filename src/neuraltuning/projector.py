"""The trainable map from image tokens to the language model's input space. Knows nothing of where either comes from."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Projector(nn.Module):
    """Two-layer perceptron on each image token, plus a learned vector for its place in the grid (SPEC 2).

    The output is scaled to the root mean square of the LLM's own token embeddings, so that image tokens enter the
    frozen layers at the size these were trained with.
    """

    def __init__(self, token_size: int, hidden_size: int, n_tokens: int, output_size: int, output_rms: float) -> None:
        """Makes an untrained projector.

        Args:
            token_size: C, channels of an image token.
            hidden_size: width of the hidden layer.
            n_tokens: P, tokens an image.
            output_size: D, the LLM's hidden size.
            output_rms: root mean square of the LLM's input embeddings.
        """
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(token_size), nn.Linear(token_size, hidden_size), nn.GELU(), nn.Linear(hidden_size, output_size)
        )
        self.place = nn.Parameter(torch.zeros(n_tokens, output_size))
        self.output_rms = output_rms

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, P, C) float -> (B, P, D) float32."""
        return (self.layers(tokens.float()) + self.place) * self.output_rms
