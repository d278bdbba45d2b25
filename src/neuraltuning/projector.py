"""The trainable map from image tokens to the language model's input space. Knows nothing of where either comes from."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PART = 65536
"""Image tokens that a fit takes into the sums at once."""


def pooled_patches(grid: tuple[int, int], side: int) -> Tensor:
    """What each position of the language model takes of the patches if squares of them share one.

    Args:
        grid: rows and columns of the patches.
        side: patches a side of a square; squares at the right and lower edge may be cut.

    Returns:
        (positions, patches) float32, both row-major over their grids; the rows add up to 1.
    """
    rows, columns = (torch.arange(length) // side for length in grid)
    square = (rows[:, None] * (columns[-1] + 1) + columns).flatten()
    members = F.one_hot(square).T.float()
    return members / members.sum(1, keepdim=True)


class Projector(nn.Module):
    """A linear map of each image token, a two-layer perceptron beside it, and a learned vector for the token's place.

    The perceptron's last layer starts at zero, so that `fit` can give the linear map a closed-form start. The output
    is in units of the root mean square of the LLM's token embeddings: image tokens enter the frozen layers at the size
    that these were trained with.
    """

    def __init__(self, token_size: int, hidden_size: int, n_tokens: int, output_size: int, output_rms: float) -> None:
        """Makes an untrained projector.

        Args:
            token_size: C, channels of an image token.
            hidden_size: width of the perceptron's hidden layer.
            n_tokens: P, tokens an image.
            output_size: D, the LLM's hidden size.
            output_rms: root mean square of the LLM's input embeddings.
        """
        super().__init__()
        self.norm = nn.LayerNorm(token_size)
        self.linear = nn.Linear(token_size, output_size)
        last = nn.Linear(hidden_size, output_size)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.residual = nn.Sequential(nn.Linear(token_size, hidden_size), nn.GELU(), last)
        self.place = nn.Parameter(torch.zeros(n_tokens, output_size))
        self.output_rms = output_rms

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, P, C) float -> (B, P, D) float32."""
        return self.split(tokens)[0]

    def split(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """The projection (B, P, D), and of it what is learned beside the linear map, which is zero at the start."""
        normed = self.norm(tokens.float())
        residual = self.residual(normed)
        projected = (self.linear(normed) + residual) * self.output_rms + self.place * self.output_rms
        return projected, (residual + self.place) * self.output_rms

    def say(self, tokens: Tensor) -> Tensor:
        """The projection without the vector for the place: (..., C) float -> (..., D) float32."""
        normed = self.norm(tokens.float())
        return (self.linear(normed) + self.residual(normed)) * self.output_rms

    @torch.no_grad()
    def fit(self, tokens: Tensor, words: Tensor, weights: Tensor, ridge: float = 0.03) -> None:
        """Sets the linear map to the weighted ridge regression from image tokens to words.

        Args:
            tokens: (N, C) image tokens.
            words: (N, D) the LLM's input vector of the word for what each shows.
            weights: (N,) of each token in the sum of squares.
            ridge: added to the tokens' covariance, in units of its mean diagonal.
        """
        size = tokens.shape[1]
        mean_x, mean_y = torch.zeros(size, device=tokens.device), words.mean(0) / self.output_rms
        covariance = torch.zeros(size, size, device=tokens.device)
        products = torch.zeros(size, words.shape[1], device=tokens.device)
        # part by part: in float32 and normed, the tokens of thousands of images take several times their own memory
        for x in tokens.split(PART):
            mean_x += self.norm(x.float()).sum(0) / len(tokens)
        roots = weights.sqrt()[:, None]
        for x, y, root in zip(tokens.split(PART), words.split(PART), roots.split(PART), strict=True):
            x = (self.norm(x.float()) - mean_x) * root
            covariance += x.T @ x
            products += x.T @ ((y / self.output_rms - mean_y) * root)
        covariance.diagonal().add_(ridge * covariance.diagonal().mean())
        weight = torch.linalg.solve(covariance, products)
        self.linear.weight.copy_(weight.T)
        self.linear.bias.copy_(mean_y - mean_x @ weight)
