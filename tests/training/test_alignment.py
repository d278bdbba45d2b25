"""The projector's closed-form start: which word each image token shows, and that the projector says it afterwards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from neuraltuning.model import MultitaskModel
from neuraltuning.training.alignment import align, shown_words, word_vectors
from tests.tiny_models import lively, model_settings, sample


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def test_a_token_shows_the_object_that_covers_a_quarter_of_its_cell() -> None:
    names = {"background": 0}
    for number in range(3):
        shown = shown_words(sample(number), (4, 4), names).reshape(4, 4)
        union = np.any([o.mask for o in sample(number).objects], axis=0)
        height, width = union.shape
        covered = union.reshape(4, height // 4, 4, width // 4).mean(axis=(1, 3))
        # where two objects share a cell, neither may reach a quarter alone
        assert (shown[covered < 0.25] == 0).all()
        assert (shown[covered > 0.5] == 1).all()
    assert names == {"background": 0, "square": 1}


def test_aligned_tokens_of_an_object_are_nearest_to_its_word(folder: Path) -> None:
    model = lively(MultitaskModel.build(model_settings(folder)))
    before = {n: p.detach().clone() for n, p in model.trainable_parameters().items()}
    samples = [sample(number) for number in range(24)]
    share = align(model, samples, 24, seed=0)
    assert share > 0.9
    changed = {n for n, p in model.trainable_parameters().items() if not torch.equal(p, before[n])}
    assert changed == {"projector.linear.weight", "projector.linear.bias"}
    pixels = model.encoder.preprocess([s.image for s in samples])
    words = model.see(pixels)[0].words
    assert words is not None
    similarity = torch.cosine_similarity(words.flatten(0, 1), word_vectors(model, ["square"]))
    shown = np.concatenate([shown_words(s, model.encoder.grid, {"background": 0, "square": 1}) for s in samples])
    is_square = torch.from_numpy(shown == 1)
    assert similarity[is_square].mean() > similarity[~is_square].mean() + 0.2


def test_the_words_are_vectors_that_the_layers_know(folder: Path) -> None:
    """Also where the embedding scales its rows (Gemma)."""
    model = MultitaskModel.build(model_settings(folder, "gemma3_text"))
    ids = model.format.tokenizer(" square", add_special_tokens=False).input_ids
    known = model.language_model.get_input_embeddings()(torch.tensor(ids)).float().mean(0)
    torch.testing.assert_close(word_vectors(model, ["square"])[0] + model.word_mean, known.detach())
