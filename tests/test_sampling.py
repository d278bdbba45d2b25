"""Drawing tokens: as often as their probabilities say, and the same for the same seed."""

from __future__ import annotations

import pytest
import torch

from neuraltuning.sampling import LIKELIEST, sampler

LOGITS = torch.tensor([0.1, 0.2, 0.3, 0.4]).log()


def drawn(temperature: float, top_p: float, logits: torch.Tensor, n: int = 4000, seed: int = 3) -> torch.Tensor:
    choose = sampler(temperature, top_p, seed)
    assert choose is not None
    counts = torch.bincount(torch.tensor([choose(logits) for _ in range(n)]), minlength=len(logits))
    return counts / n


def test_without_temperature_nothing_is_drawn() -> None:
    assert sampler(0.0, 1.0, 5) is None


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_come_as_often_as_they_are_likely(temperature: float) -> None:
    expected = (LOGITS / temperature).softmax(-1)
    torch.testing.assert_close(drawn(temperature, 1.0, LOGITS), expected, atol=0.03, rtol=0.0)


def test_the_nucleus_is_the_fewest_tokens_that_have_the_probability() -> None:
    shares = drawn(1.0, 0.65, LOGITS)
    torch.testing.assert_close(shares, torch.tensor([0.0, 0.0, 3 / 7, 4 / 7]), atol=0.03, rtol=0.0)
    assert drawn(1.0, 0.4, LOGITS).tolist() == [0.0, 0.0, 0.0, 1.0]
    assert drawn(1.0, 1e-6, LOGITS).tolist() == [0.0, 0.0, 0.0, 1.0]


def test_a_wide_nucleus_reaches_beyond_the_likeliest() -> None:
    even = torch.zeros(4 * LIKELIEST)
    choose = sampler(1.0, 0.9, 0)
    assert choose is not None
    seen = {choose(even) for _ in range(3000)}
    assert len(seen) > 1.2 * LIKELIEST


def test_a_seed_repeats_itself() -> None:
    logits = torch.randn(1000, generator=torch.Generator().manual_seed(0))

    def chosen(seed: int) -> list[int]:
        choose = sampler(1.0, 0.95, seed)
        assert choose is not None
        return [choose(logits) for _ in range(20)]

    assert chosen(1) == chosen(1)
    assert chosen(1) != chosen(2)
