"""Selecting neurons: every way of computing it (few rows, many rows, a compiled or remote device) selects the same."""

from __future__ import annotations

import pytest
import torch

from neuraltuning.tuners.neural import activation


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("count", [1, 5, 12, 16])
def test_few_and_many_rows_and_tensor_counts_agree(dtype: torch.dtype, count: int) -> None:
    vector = torch.randn(64, 16).to(dtype)
    many = activation.keep_largest(vector, count)
    few = torch.cat([activation.keep_largest(rows, count) for rows in vector.split(3)])
    differentiable = activation.keep_largest(vector.clone().requires_grad_(), count)
    by_tensor = activation.keep_largest(vector, torch.tensor(count))
    by_row = activation.keep_largest(vector, torch.full((64, 1), count))
    assert ((many != 0).sum(-1) >= count).all()
    for other in (few, differentiable, by_tensor, by_row):
        assert other.dtype == dtype and torch.equal(other, many)


@pytest.mark.parametrize("rows", [1, 64])
def test_entries_equal_to_the_last_one_kept_are_kept(rows: int) -> None:
    vector = torch.tensor([[3.0, 1.0, 2.0, 2.0, 2.0, 0.5]]).repeat(rows, 1)
    kept = torch.tensor([[True, False, True, True, True, False]]).repeat(rows, 1)
    assert torch.equal(activation.keep_largest(vector, 2) != 0, kept)
    assert torch.equal(activation.largest(vector, 2), kept)
    assert torch.equal(activation.largest(vector, torch.tensor(2)), kept)


def test_negative_entries_count_by_value_not_by_size() -> None:
    assert activation.keep_largest(torch.tensor([[-9.0, -1.0, -3.0]]), 2).tolist() == [[0.0, -1.0, -3.0]]


@pytest.mark.parametrize(
    ("rate", "size", "count"), [(0.4, 128, 52), (0.1, 30, 3), (0.5, 64, 32), (1.0, 7, 7), (0.001, 9, 1), (-2.0, 9, 1)]
)
def test_counts_are_rounded_up_and_never_zero(rate: float, size: int, count: int) -> None:
    assert activation.active_count(rate, size) == count


def test_inference_mode() -> None:
    with torch.inference_mode():
        vector = torch.randn(40, 8)
        assert ((activation.keep_largest(vector, 3) != 0).sum(-1) == 3).all()
