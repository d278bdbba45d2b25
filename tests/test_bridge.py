"""The bridge: which states it reads, how it standardises them, and the closed-form start of the word."""

from __future__ import annotations

import torch

from neuraltuning.bridge import Bridge

D = 8


def states(layers: int = 4, batch: int = 2, length: int = 6) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(batch, length, D, generator=generator) for _ in range(layers)]


def test_a_source_is_a_layer_at_the_token_or_just_before_it() -> None:
    hidden = states()
    bridge = Bridge([("predicting", 1), ("token", 3), ("token", 0)], D, 5)
    rows, positions = torch.tensor([0, 1, 1]), torch.tensor([2, 5, 1])
    gathered = bridge.gather([h.bfloat16() for h in hidden], rows, positions)
    assert gathered.shape == (3, 3 * D)
    assert gathered.dtype == torch.float32
    for number, (row, position) in enumerate([(0, 2), (1, 5), (1, 1)]):
        expected = [hidden[1][row, position - 1], hidden[3][row, position], hidden[0][row, position]]
        torch.testing.assert_close(gathered[number], torch.cat(expected).bfloat16().float())


def test_the_state_is_a_word_and_free_entries() -> None:
    bridge = Bridge([("token", 1)], D, 5)
    gathered = torch.randn(3, D)
    assert bridge(gathered).shape == (3, D + 5)
    torch.testing.assert_close(bridge(gathered), bridge.linear(gathered))  # unfitted, nothing is standardised


def test_fitting_standardises_and_keeps_still_coordinates_small() -> None:
    bridge = Bridge([("token", 1)], D, 5)
    gathered = torch.randn(200, D, generator=torch.Generator().manual_seed(1))
    gathered[:, 0] = 5000.0 + 300.0 * gathered[:, 0]  # language models have a few such coordinates
    gathered[:, 1] = 7.0
    bridge.fit(gathered, None)
    standard = (gathered - bridge.mean) * bridge.scale
    assert standard.isfinite().all()
    torch.testing.assert_close(standard.mean(0), torch.zeros(D), atol=1e-3, rtol=0)
    torch.testing.assert_close(standard.std(0)[2:], standard.std(0)[2].expand(D - 2), atol=0.2, rtol=0)
    assert standard[:, 1].abs().max() < 1e-2


def test_the_fitted_word_is_what_the_token_is_about() -> None:
    generator = torch.Generator().manual_seed(2)
    words = torch.nn.functional.normalize(torch.randn(5, D, generator=generator), dim=-1)
    mixing = torch.randn(D, 2 * D, generator=generator)

    def draw(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        about = words[torch.randint(5, (count,), generator=generator)]
        return about @ mixing + 0.1 * torch.randn(count, 2 * D, generator=generator) + 3.0, about

    bridge = Bridge([("token", 1), ("predicting", 1)], D, 5)
    free = bridge.linear.weight[D:].clone()
    bridge.fit(*draw(100))
    gathered, about = draw(50)
    said = bridge(gathered)[:, :D]
    nearest = torch.nn.functional.normalize(said, dim=-1) @ words.T
    assert (words[nearest.argmax(1)] == about).all(1).float().mean() > 0.95
    assert torch.equal(bridge.linear.weight[D:], free)
