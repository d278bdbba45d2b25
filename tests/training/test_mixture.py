"""The mixture of tasks: stated shares, every sample in turn, and each item a function of its place alone."""

from __future__ import annotations

from collections import Counter

import pytest

from neuraltuning.data.sample import Sample
from neuraltuning.errors import InputError
from neuraltuning.tasks import Example
from neuraltuning.training.mixture import Mixture
from tests.tiny_models import sample

SAMPLES = [sample(number) for number in range(6)]
SHARES = {"referring_segmentation": 1.25, "captioning": 0.5, "visual_question_answering": 2.0, "text_to_image": 0.3}


def facts(examples: list[Example]) -> list[tuple[str, str, str]]:
    return [(e.id, e.prompt, e.reply) for e in examples]


def test_an_item_depends_on_its_place_and_the_seed_alone() -> None:
    one, other = Mixture(SAMPLES, SHARES, 0, 40), Mixture(SAMPLES, SHARES, 0, 90)
    backwards = {i: facts(other[i]) for i in reversed(range(40))}
    assert [facts(one[i]) for i in range(40)] == [backwards[i] for i in range(40)]
    assert [facts(Mixture(SAMPLES, SHARES, 1, 40)[i]) for i in range(40)] != [facts(one[i]) for i in range(40)]


def test_every_sample_comes_once_in_an_epoch_in_another_order() -> None:
    mixture = Mixture(SAMPLES, {"captioning": 1.0}, 0, 18)
    assert len(mixture) == 18
    epochs = [[mixture[6 * epoch + i][0].id.split("/")[0] for i in range(6)] for epoch in range(3)]
    assert all(sorted(epoch) == [s.id for s in SAMPLES] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_tasks_come_in_their_shares() -> None:
    mixture = Mixture(SAMPLES, SHARES, 0, 2000)
    counts = Counter(e.task for i in range(2000) for e in mixture[i])
    for name, share in SHARES.items():
        assert counts[name] / 2000 == pytest.approx(share, abs=0.06), name


def test_an_item_is_about_one_image() -> None:
    mixture = Mixture(SAMPLES, SHARES, 0, 50)
    for i in range(50):
        assert len({e.id.split("/")[0] for e in mixture[i]}) <= 1


def test_a_sample_gives_no_more_than_it_has() -> None:
    mixture = Mixture(SAMPLES[:1], {"reasoning_segmentation": 5.0}, 0, 3)
    assert [len(mixture[i]) for i in range(3)] == [1, 1, 1]


def test_small_shares_give_no_empty_items() -> None:
    """An empty item would be a step that learns nothing, and a batch of them a loss that is no number."""
    mixture = Mixture(SAMPLES, {"captioning": 0.2, "text_to_image": 0.1}, 0, 600)
    items = [mixture[i] for i in range(600)]
    assert min(map(len, items)) == 1
    counts = Counter(e.task for item in items for e in item)
    assert counts["captioning"] / counts["text_to_image"] == pytest.approx(2.0, rel=0.25)


def test_samples_that_offer_nothing_are_passed_over() -> None:
    bare = Sample("bare", SAMPLES[0].image)
    mixture = Mixture([bare, SAMPLES[0], bare, SAMPLES[1]], {"captioning": 1.0}, 0, 8)
    assert all(mixture[i] for i in range(8))


def test_samples_that_offer_nothing_at_all_are_refused() -> None:
    bare = Sample("bare", SAMPLES[0].image)
    mixture = Mixture([bare, bare], {"captioning": 1.0}, 0, 8)
    with pytest.raises(InputError, match="captioning"):
        mixture[0]
