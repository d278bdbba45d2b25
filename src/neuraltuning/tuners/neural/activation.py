"""Which neurons of the sparse vector stay active (preprint, eq. 3; journal paper, section 5.5).

Works on rows of scores, (N, d_z), one row a token, and knows nothing about layers, adapters or weights.
"""

from __future__ import annotations

import math

import numpy
import torch

LEVELS = 10
FEW_ROWS = 16  # as in decoding, where the number of calls costs more than the work that they do
_ROUNDING = 1e-9  # 0.1 * 30 is 3.0000000000000004 and must count as 3


def active_count(rate: float, size: int) -> int:
    """`ceil(rate * size)`, at least 1 and at most `size`."""
    return min(size, max(1, math.ceil(rate * size - _ROUNDING)))


def draw_rate(beta: float, fluctuation: float) -> float:
    """One draw of r from N(beta, (fluctuation * beta)^2), clipped to (0, 1].

    Drawn on the CPU, so that no accelerator has to be waited for.
    """
    return min(1.0, beta + fluctuation * beta * torch.randn((), dtype=torch.float32).item())


def draw_counts(
    beta: float, fluctuation: float, size: int, shape: tuple[int, ...], device: torch.device
) -> torch.Tensor:
    """Draws of `ceil(r * size)` as a tensor of integers, clipped to 1 ... size, without waiting for the device.

    Args:
        shape: `()` for one draw, `(N, 1)` for one a token.
    """
    rates = beta + fluctuation * beta * torch.randn(shape, device=device, dtype=torch.float32)
    return torch.ceil(rates * size - _ROUNDING).clamp(1, size).long()


def _as_numpy(scores: torch.Tensor) -> numpy.ndarray | None:
    """The values as a numpy array where numpy can see them, which excludes accelerators and `torch.compile`.

    numpy's vectorized partition is about four times as fast as `torch.topk` for rows of 128.
    """
    if scores.device.type != "cpu" or type(scores) is not torch.Tensor or torch.compiler.is_compiling():
        return None
    if scores.dtype in (torch.bfloat16, torch.float16):
        scores = scores.float()
    return scores.numpy()


def _kth_largest(values: numpy.ndarray, k: int) -> numpy.ndarray:
    index = values.shape[-1] - k
    return numpy.partition(values, index, axis=-1)[:, index : index + 1]


def keep_largest(vector: torch.Tensor, count: int | torch.Tensor) -> torch.Tensor:
    """Eq. 3: the `count` largest entries of each row, 0 elsewhere. Differentiable.

    Args:
        vector: (N, d_z).
        count: see `largest`.
    """
    # a traced tensor takes neither way: which one would depend on a number of rows that the trace leaves open
    if isinstance(count, int) and not vector.requires_grad and type(vector) is torch.Tensor:
        rows, size = vector.shape
        if rows < FEW_ROWS:
            return vector * (vector >= vector.kthvalue(size - count + 1, dim=-1, keepdim=True).values)
        values = _as_numpy(vector)
        if values is not None:
            kept = torch.from_numpy(values * (values >= _kth_largest(values, count)))
            return kept if kept.dtype == vector.dtype else kept.to(vector.dtype)
    return vector * largest(vector, count)


def largest(scores: torch.Tensor, count: int | torch.Tensor) -> torch.Tensor:
    """Mask of the `count` largest entries of each row; entries equal to the last one kept are kept too (eq. 3).

    Args:
        scores: (N, d_z).
        count: an int for all rows, or a tensor of shape () or (N, 1).

    Returns:
        Booleans, (N, d_z).
    """
    scores = scores.detach()
    size = scores.shape[-1]
    if isinstance(count, int):
        if count >= size:
            return torch.ones_like(scores, dtype=torch.bool)
        values = _as_numpy(scores)
        if values is not None:
            return torch.from_numpy(values >= _kth_largest(values, count))
        return scores >= scores.topk(count, dim=-1).values[:, -1:]
    descending = scores.sort(dim=-1, descending=True).values
    return scores >= descending.gather(-1, (count - 1).expand(len(scores), 1))


def _ranks(scores: torch.Tensor) -> torch.Tensor:
    """The place of each entry in its row's descending order, from 0; (N, d_z)."""
    order = scores.detach().argsort(dim=-1, descending=True, stable=True)
    places = torch.arange(scores.shape[-1], device=scores.device).expand_as(order)
    return torch.empty_like(order).scatter_(-1, order, places)


def _random_places(group: torch.Tensor) -> torch.Tensor:
    """A random order that goes through group 0 first, then group 1, ...: the place of each entry in it; (N, d_z)."""
    return _ranks(-(group + torch.rand(group.shape, device=group.device, dtype=torch.float32)))


def _ceil_ratio(numerator: torch.Tensor, denominator: torch.Tensor | int) -> torch.Tensor:
    return -torch.div(-numerator, denominator, rounding_mode="floor")


def _evenly_spaced(place: torch.Tensor, keep: torch.Tensor, size: torch.Tensor | int) -> torch.Tensor:
    """Mask that keeps `keep` of `size` places at equal distances, the first place always among them."""
    return _ceil_ratio((place + 1) * keep, size) > _ceil_ratio(place * keep, size)


def top2beta_random(
    scores: torch.Tensor, count: int | torch.Tensor, candidates: int | torch.Tensor, random: bool
) -> torch.Tensor:
    """Mask of `count` entries among the `candidates` largest of each row.

    Args:
        random: choose them at random (training); otherwise at evenly spaced ranks, so that evaluation is
            deterministic and the kept values are as large as training's on average.
    """
    ranks = _ranks(scores)
    if random:
        return _random_places((ranks >= candidates).to(torch.float32)) < count
    return _evenly_spaced(ranks, torch.as_tensor(count, device=scores.device), candidates) & (ranks < candidates)


def level_random(scores: torch.Tensor, count: int | torch.Tensor, random: bool) -> torch.Tensor:
    """Mask that keeps the same share of each of ten levels of the sorted row, `count` entries in all.

    Args:
        random: choose them at random within each level (training); otherwise at evenly spaced ranks.
    """
    size = scores.shape[-1]
    ranks = _ranks(scores)
    levels = torch.div(ranks * LEVELS, size, rounding_mode="floor")
    starts = _ceil_ratio(levels * size, LEVELS)
    ends = _ceil_ratio((levels + 1) * size, LEVELS)
    keep = _ceil_ratio(ends * count, size) - _ceil_ratio(starts * count, size)
    if random:
        return _random_places(levels.to(torch.float32)) - starts < keep
    return _evenly_spaced(ranks - starts, keep, ends - starts)


def excess_over_dropped(vector: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Kept entries minus the largest dropped entry of their row, 0 elsewhere; a row without dropped entries as it is.

    Args:
        vector: (N, d_z); the gradient also reaches the largest dropped entry.
        mask: the kept entries, booleans of the same shape.
    """
    bar = vector.masked_fill(mask, float("-inf")).max(dim=-1, keepdim=True).values
    bar = torch.where(bar == float("-inf"), torch.zeros_like(bar), bar)
    return (vector - bar) * mask
