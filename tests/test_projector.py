"""The projector's closed-form start."""

from __future__ import annotations

import pytest
import torch

from neuraltuning import projector as projector_module
from neuraltuning.projector import Projector, pooled_patches


def fitted() -> tuple[Projector, torch.Tensor, torch.Tensor]:
    """A projector fitted on words that are a linear map of the normed tokens; tokens and words that it hasn't seen."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(300, 12, generator=generator)
    projector = Projector(12, 8, n_tokens=4, output_size=6, output_rms=0.5)
    with torch.no_grad():
        words = projector.norm(tokens) @ torch.randn(12, 6, generator=generator) + 3.0
    projector.fit(tokens[:200].half(), words[:200], torch.rand(200, generator=generator) + 0.5, ridge=1e-4)
    return projector, tokens[200:], words[200:]


def test_the_closed_form_start_recovers_a_linear_map() -> None:
    projector, tokens, words = fitted()
    torch.testing.assert_close(projector.say(tokens), words, atol=0.02, rtol=0)


def test_a_fit_part_by_part_is_that_of_all_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that its memory doesn't grow with the number of tokens."""
    together, tokens, _ = fitted()
    monkeypatch.setattr(projector_module, "PART", 7)
    torch.testing.assert_close(fitted()[0].say(tokens), together.say(tokens), atol=1e-3, rtol=0)


def test_squares_of_patches_share_a_position() -> None:
    pooled = pooled_patches((3, 5), 2)
    where = torch.arange(15.0).view(1, 15)
    # rows 0-1 and 2; columns 0-1, 2-3 and 4
    expected = [(0 + 1 + 5 + 6) / 4, (2 + 3 + 7 + 8) / 4, (4 + 9) / 2, (10 + 11) / 2, (12 + 13) / 2, 14.0]
    torch.testing.assert_close(pooled @ where.T, torch.tensor(expected)[:, None])
    assert torch.equal(pooled_patches((3, 5), 1), torch.eye(15))
    assert pooled_patches((3, 5), 9).tolist() == [[pytest.approx(1 / 15)] * 15]
