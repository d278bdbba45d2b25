"""Names behind an image's patch tokens: which patches are named, how, and what the model makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from neuraltuning.model import MultitaskModel, Query
from neuraltuning.naming import Naming
from neuraltuning.tasks import get_task
from neuraltuning.training.alignment import align
from tests.tiny_models import lively, model_settings, sample

GRID = (3, 4)
COMMA, STOP = 90, 91
SPELLINGS = [[1], [10], [20, 21], [30]]
"""Of the background, a dog, a palm tree and a cat."""


def patches(shown: list[str], noise: float = 0.05, seed: int = 0) -> Tensor:
    """(1, 12, 8) tokens of a picture drawn with one letter a patch: "." background, d, p, c."""
    labels = labels_of(shown)
    clean = torch.eye(8)[labels]
    return (clean + noise * torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed)))[None]


def labels_of(shown: list[str]) -> Tensor:
    return torch.tensor([".dpc".index(letter) for line in shown for letter in line])


def fitted(slots: int = 9, vocabulary: int = 6, counts: tuple[int, ...] = (60, 40, 50, 30)) -> Naming:
    naming = Naming(8, GRID, vocabulary, slots, [COMMA], STOP)
    labels = torch.repeat_interleave(torch.arange(4), torch.tensor(counts))
    tokens = torch.eye(8)[labels] + 0.05 * torch.randn(len(labels), 8, generator=torch.Generator().manual_seed(1))
    naming.fit(tokens, labels, SPELLINGS, seed=0)
    return naming


def test_who_knows_no_name_names_nothing() -> None:
    ids, shares = Naming(8, GRID, 6, 5, [COMMA], STOP)(patches(["dd..", "....", "..cc"]))
    assert ids.tolist() == [[STOP] * 5]
    assert not shares.any()


def test_groups_are_named_from_left_to_right_in_the_language_models_tokens() -> None:
    ids, shares = fitted()(patches(["..pp", "d...", "d.c."]))
    assert ids.tolist() == [[10, COMMA, 30, COMMA, 20, 21, COMMA, STOP, STOP]]
    dog, cat, palm = torch.zeros(12), torch.zeros(12), torch.zeros(12)
    dog[[4, 8]], cat[10], palm[[2, 3]] = 0.5, 1.0, 0.5
    zero = torch.zeros(12)
    torch.testing.assert_close(shares[0], torch.stack([dog, zero, cat, zero, palm, palm, zero, zero, zero]))


@pytest.mark.parametrize(
    ("shown", "dogs"),
    [
        (["dd..", "dd..", "...."], 1),
        (["d...", ".d..", "..d."], 1),  # corners touch
        (["dddd", "...d", "dddd"], 1),  # a long way round
        (["d..d", "d..d", "...."], 2),
        (["...d", "d...", "...."], 2),  # the end of a row and the start of the next do not touch
    ],
)
def test_patches_that_touch_are_one_group(shown: list[str], dogs: int) -> None:
    ids, _ = fitted()(patches(shown))
    assert ids[0].tolist().count(10) == dogs


def test_a_name_that_does_not_fit_is_left_out_whole() -> None:
    ids, _ = fitted(slots=4)(patches(["d..p", "...p", "...."]))
    assert ids.tolist() == [[10, COMMA, STOP, STOP]]


def test_what_it_is_not_sure_of_stays_unnamed() -> None:
    naming = fitted()
    unsure = torch.eye(8)[torch.full((12,), 5)][None]  # shows what no class was fitted on
    sure = patches(["dddd", "dddd", "dddd"])
    naming.weight.mul_(0.3)  # probabilities nearer to each other
    assert naming.probabilities(sure)[0, :, 1:].max() > naming.probabilities(unsure).max()
    naming.bias.fill_(0.0)  # six classes alike
    naming.weight.zero_()
    assert naming(sure)[0].tolist() == [[STOP] * 9]


def test_the_rarest_classes_beyond_the_vocabulary_are_not_learned() -> None:
    naming = fitted(vocabulary=3)
    ids, _ = naming(patches(["d..p", "d..p", ".c.."]))
    assert 30 not in ids[0].tolist()
    assert {10, 20, 21} <= set(ids[0].tolist())


def test_names_of_several_images_are_those_of_each_alone() -> None:
    naming = fitted()
    pictures = [patches(["..pp", "d...", "d.c."]), patches(["....", ".cc.", "...."]), patches(["....", "....", "...."])]
    ids, shares = naming(torch.cat(pictures))
    for place, picture in enumerate(pictures):
        one_ids, one_shares = naming(picture)
        assert torch.equal(ids[place], one_ids[0])
        torch.testing.assert_close(shares[place], one_shares[0])


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> MultitaskModel:
    """A tiny model that learned to name squares."""
    folder = tmp_path_factory.mktemp("models")
    model = lively(MultitaskModel.build(model_settings(folder, names={"slots": 12, "vocabulary": 5})))
    align(model, [sample(n) for n in range(24)], 24, seed=0, tasks=[get_task("captioning")])
    return model


def test_the_language_model_gets_the_names_behind_the_patches(named: MultitaskModel) -> None:
    pixels = named.encoder.preprocess([sample(30).image])
    features, tokens = named.see(pixels)
    n_patches = named.encoder.grid[0] * named.encoder.grid[1]
    assert tokens.shape[1] == named.image_length == n_patches + 12
    ids, shares = named.naming(features.tokens)  # type: ignore[misc]
    assert "square" in named.format.tokenizer.decode(ids[0])
    own = named.language_model.get_input_embeddings()(ids)
    detail = shares @ named.projector.detail(features.tokens)
    torch.testing.assert_close(tokens[:, n_patches:], own + detail)
    assert detail.any()
    assert features.words is not None
    assert features.words.shape[1] == n_patches  # names are for the LLM, not for the decoders


def test_replies_with_names_are_the_same_alone_together_and_reloaded(named: MultitaskModel, tmp_path: Path) -> None:
    queries = [Query(sample(n).image, text) for n, text in enumerate(["Which is like the sky?", "How many squares?"])]
    together = named.reply_batch(queries)
    again = MultitaskModel.from_pretrained(named.save_pretrained(tmp_path / "model"))
    assert torch.equal(again.naming.pieces, named.naming.pieces)
    for query, reply, reloaded in zip(queries, together, again.reply_batch(queries), strict=True):
        alone = named.reply(query.image, query.text)
        assert alone.text == reply.text == reloaded.text
        assert (alone.masks == reply.masks).all()
        assert (reloaded.masks == reply.masks).all()


def test_naming_is_not_trained_on(named: MultitaskModel) -> None:
    assert not [name for name in named.trainable_parameters() if name.startswith("naming")]
    assert {"naming.weight", "naming.bias", "naming.pieces", "naming.center"} <= set(named.heads())
