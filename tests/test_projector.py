"""The projector's closed-form start."""

from __future__ import annotations

import pytest
import torch

from neuraltuning import projector as projector_module
from neuraltuning.projector import Projector


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
