"""Several tuned models over one frozen language model: shared in memory, and each as it is alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from neuraltuning.errors import InputError
from neuraltuning.model import MultitaskModel
from neuraltuning.serving.engine import Engine
from neuraltuning.serving.models import load_models
from tests.serving.asking import alone, ask, chat, lively_writer, same
from tests.tiny_models import model_settings, model_values

METHODS = ("neural_tuning", "lora", "ia3", "prefix_tuning")


@pytest.fixture(scope="module")
def folders(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A saved model of each method over one language model, and one over another."""
    target = tmp_path_factory.mktemp("tuned")
    settings = model_values(parts)["tuner"]["settings"]
    made = {}
    for number, method in enumerate(METHODS):
        tuner = {"method": method, "settings": settings}
        model = MultitaskModel.build(model_settings(parts, tuner=tuner), seed=number)
        made[method] = lively_writer(model).save_pretrained(target / method)
    other = lively_writer(MultitaskModel.build(model_settings(parts, "qwen2", "siglip")))
    made["other"] = other.save_pretrained(target / "other")
    return made


def test_frozen_parts_lie_in_memory_once(folders: dict[str, Path]) -> None:
    models = load_models(folders)
    assert list(models) == list(folders)
    first = models["neural_tuning"]
    own = {p.data_ptr() for p in first.language_model.parameters() if not p.requires_grad}
    assert len(own) > 20
    for method in METHODS[1:]:
        shared = {p.data_ptr() for p in models[method].language_model.parameters() if not p.requires_grad}
        assert shared >= own
        assert models[method].encoder is first.encoder
        assert models[method].format.tokenizer is not first.format.tokenizer
        trained = {p.data_ptr() for p in models[method].trainable_parameters().values()}
        assert not trained & {p.data_ptr() for p in first.trainable_parameters().values()}
    other = models["other"]
    assert not own & {p.data_ptr() for p in other.language_model.parameters()}
    assert other.encoder is not first.encoder


def test_each_replies_as_it_does_alone(folders: dict[str, Path], start: Callable[..., Engine]) -> None:
    models = load_models(folders)
    engine = start(*models.values(), max_batch=6)
    queries = [chat(n, model=f"m{n % len(models)}", max_new_tokens=12) for n in range(4 * len(models))]
    replies = [one.finished.reply for one in ask(engine, queries)]
    loaded = [MultitaskModel.from_pretrained(folder) for folder in folders.values()]
    for query, reply in zip(queries, replies, strict=True):
        same(reply, alone(loaded[int(query.model[1:])], query))
    assert len({alone(model, chat(0)).text for model in loaded}) > 2


def test_one_picture_is_encoded_once_for_all_models_of_an_encoder(
    folders: dict[str, Path], start: Callable[..., Engine]
) -> None:
    models = load_models({name: folders[name] for name in METHODS})
    engine = start(*models.values())
    ask(engine, [chat(0, model=f"m{n}", max_new_tokens=2) for n in range(len(METHODS))])
    counted = engine.statistics()
    assert (counted.image_misses, counted.image_hits) == (1, len(METHODS) - 1)
    assert (counted.prefix_misses, counted.prefix_hits) == (len(METHODS), 0)  # each has keys and values of its own


@pytest.mark.parametrize("name", ["", "a b", "-a", "ä", "a\n", "x" * 121])
def test_a_name_that_is_none_is_refused(folders: dict[str, Path], name: str) -> None:
    with pytest.raises(InputError, match="can't be called"):
        load_models({name: folders["lora"]})


def test_unusable_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no model to load"):
        load_models({})
    with pytest.raises(InputError, match="is no saved model"):
        load_models({"a": tmp_path})
