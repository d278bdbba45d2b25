"""The bridge: which states it reads, how it standardises them, and the words that it chooses from a mention."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from neuraltuning.bridge import Bridge, Readings
from neuraltuning.decoders.base import StateShape

D = 8
WORDLESS = StateShape(words=0, hidden_size=D, free=5)
TWO_WORDS = StateShape(words=2, hidden_size=D, free=5)


def hidden_states(layers: int = 4, batch: int = 2, length: int = 6) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(batch, length, D, generator=generator) for _ in range(layers)]


def readings(states: torch.Tensor, said: torch.Tensor | None = None) -> Readings:
    said = torch.zeros(len(states), 0, D) if said is None else said
    return Readings(states, said, torch.ones(said.shape[:2], dtype=torch.bool))


def test_a_source_is_a_layer_at_the_token_or_just_before_it() -> None:
    hidden = hidden_states()
    bridge = Bridge([("predicting", 1), ("token", 3), ("token", 0)], torch.zeros(D), WORDLESS)
    rows, positions = torch.tensor([0, 1, 1]), torch.tensor([2, 5, 1])
    read = bridge.read(hidden[0], [h.bfloat16() for h in hidden], rows, positions, positions).states
    assert read.shape == (3, 3 * D)
    assert read.dtype == torch.float32
    for number, (row, position) in enumerate([(0, 2), (1, 5), (1, 1)]):
        expected = [hidden[1][row, position - 1], hidden[3][row, position], hidden[0][row, position]]
        torch.testing.assert_close(read[number], torch.cat(expected).bfloat16().float())


def test_a_mention_is_read_from_its_start_up_to_the_token_relative_to_the_mean() -> None:
    hidden = hidden_states()
    bridge = Bridge([("token", 1)], torch.full((D,), 0.5), TWO_WORDS)
    read = bridge.read(hidden[0], hidden, torch.tensor([0, 1]), torch.tensor([1, 4]), torch.tensor([4, 5]))
    assert read.in_mention.tolist() == [[True, True, True], [True, False, False]]
    torch.testing.assert_close(read.said[0], hidden[0][0, 1:4] - 0.5)
    torch.testing.assert_close(read.said[1, 0], hidden[0][1, 4] - 0.5)


def test_the_state_is_words_and_free_entries_and_words_are_plain_means_at_first() -> None:
    bridge = Bridge([("token", 1)], torch.zeros(D), TWO_WORDS)
    read = readings(torch.randn(3, D), torch.randn(3, 4, D))
    read.in_mention[1, 2:] = False
    state = bridge(read)
    assert state.shape == (3, 2 * D + 5)
    for word in (state[:, :D], state[:, D : 2 * D]):
        torch.testing.assert_close(F.normalize(word[0], dim=0), F.normalize(read.said[0].mean(0), dim=0))
        torch.testing.assert_close(F.normalize(word[1], dim=0), F.normalize(read.said[1, :2].mean(0), dim=0))
        assert (word.norm(dim=1) > 0.98).all()
    torch.testing.assert_close(state[:, 2 * D :], bridge.free(read.states))  # unfitted, nothing is standardised


def test_without_a_mention_the_words_are_zero() -> None:
    """As where a reply opens with the task token, or two stand side by side."""
    bridge = Bridge([("token", 1)], torch.zeros(D), TWO_WORDS)
    rows, positions = torch.tensor([0, 1]), torch.tensor([2, 4])
    hidden = hidden_states()
    alone = bridge(bridge.read(hidden[0], hidden, rows, positions, positions))
    assert alone.shape == (2, 2 * D + 5)
    assert alone[:, : 2 * D].abs().max() == 0
    beside = bridge(bridge.read(hidden[0], hidden, rows, torch.tensor([2, 1]), positions))
    assert beside[0, : 2 * D].abs().max() == 0
    assert (beside[1, : 2 * D].view(2, D).norm(dim=1) > 0.98).all()


def test_words_can_be_read_without_a_pass_of_the_language_model() -> None:
    hidden = hidden_states()
    bridge = Bridge([("token", 1)], torch.zeros(D), TWO_WORDS)
    where = torch.tensor([0, 1]), torch.tensor([1, 0]), torch.tensor([4, 5])
    states = bridge.read_words(hidden[0], *where)
    full = bridge(bridge.read(hidden[0], hidden, *where))
    torch.testing.assert_close(states[:, : 2 * D], full[:, : 2 * D])
    assert states[:, 2 * D :].abs().max() == 0


def test_joined_readings_give_what_each_gives_alone() -> None:
    bridge = Bridge([("token", 1)], torch.zeros(D), TWO_WORDS)
    torch.nn.init.normal_(bridge.word_choice.choice.weight)
    short, long = readings(torch.randn(1, D), torch.randn(1, 2, D)), readings(torch.randn(2, D), torch.randn(2, 5, D))
    torch.testing.assert_close(bridge(Readings.join([short, long])), torch.cat([bridge(short), bridge(long)]))


def test_fitting_standardises_and_keeps_still_coordinates_small() -> None:
    bridge = Bridge([("token", 1)], torch.zeros(D), WORDLESS)
    states = torch.randn(200, D, generator=torch.Generator().manual_seed(1))
    states[:, 0] = 5000.0 + 300.0 * states[:, 0]  # language models have a few such coordinates
    states[:, 1] = 7.0
    bridge.fit(readings(states), None)
    standard = (states - bridge.mean) * bridge.scale
    assert standard.isfinite().all()
    torch.testing.assert_close(standard.mean(0), torch.zeros(D), atol=1e-3, rtol=0)
    torch.testing.assert_close(standard.std(0)[2:], standard.std(0)[2].expand(D - 2), atol=0.2, rtol=0)
    assert standard[:, 1].abs().max() < 1e-2


def test_the_fitted_free_entries_are_uncorrelated_and_of_equal_size() -> None:
    generator = torch.Generator().manual_seed(3)
    states = torch.randn(400, D, generator=generator) @ torch.randn(D, D, generator=generator)
    bridge = Bridge([("token", 1)], torch.zeros(D), WORDLESS)
    bridge.fit(readings(states), None)
    free = bridge(readings(states))
    torch.testing.assert_close(
        free.T @ free / len(free), torch.eye(5), atol=0.1, rtol=0
    )  # the components are approximate


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_few_tokens_are_enough_to_fit_on(count: int) -> None:
    """What hardly varied among them is not blown up; words of drawings, for one, may be rare."""
    generator = torch.Generator().manual_seed(4)
    bridge = Bridge([("token", 1)], torch.zeros(D), WORDLESS)
    bridge.fit(readings(torch.randn(count, D, generator=generator)), None)
    others = bridge(readings(torch.randn(50, D, generator=generator)))
    assert others.isfinite().all()
    assert others.abs().max() < 30


def test_the_fitted_words_are_what_the_token_is_about_also_for_words_never_seen() -> None:
    generator = torch.Generator().manual_seed(2)
    the, left, of = torch.randn(3, D, generator=generator)

    def draw(count: int) -> tuple[Readings, torch.Tensor]:
        """Mentions "the X left of the Y", the nouns X and Y never twice the same, in a half space of their own."""
        nouns = torch.randn(count, 2, D, generator=generator)
        nouns[..., 0] = 3.0 + nouns[..., 0].abs()
        said = torch.stack([the.expand(count, D), nouns[:, 0], left.expand(count, D), of.expand(count, D)], 1)
        said = torch.cat([said, the.expand(count, 1, D), nouns[:, 1:]], 1)
        return readings(torch.randn(count, D, generator=generator), said), F.normalize(nouns, dim=-1)

    bridge = Bridge([("token", 1)], torch.zeros(D), TWO_WORDS)
    bridge.fit(*draw(300))
    read, about = draw(50)
    words = bridge(read)[:, : 2 * D].unflatten(1, (2, D))
    assert (words * about).sum(-1).mean() > 0.95


def test_a_word_that_a_mention_does_not_have_is_short() -> None:
    generator = torch.Generator().manual_seed(5)
    the, red, object_ = torch.randn(3, D, generator=generator)

    def draw(count: int) -> tuple[Readings, torch.Tensor]:
        """By turns "the X", whose second word is missing, and "the red thing", whose first is."""
        nouns = torch.randn(count, D, generator=generator)
        nouns[:, 0] = 3.0 + nouns[:, 0].abs()
        named = (torch.arange(count) % 2 == 0)[:, None]
        said = torch.stack([the.expand(count, D), torch.where(named, nouns, red), torch.where(named, the, object_)], 1)
        about = torch.stack([nouns * named, red * ~named], 1)
        return readings(torch.randn(count, D, generator=generator), said), F.normalize(about, dim=-1)

    bridge = Bridge([("token", 1)], torch.zeros(D), TWO_WORDS)
    bridge.fit(*draw(300))
    read, about = draw(50)
    lengths = bridge(read)[:, : 2 * D].unflatten(1, (2, D)).norm(dim=-1)
    there = about.norm(dim=-1) > 0
    assert lengths[there].min() > 0.6
    assert lengths[~there].max() < 0.3
