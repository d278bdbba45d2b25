"""A saved model: identical when it comes back, small, and a sentence for everything that can be wrong with it."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import neuraltuning.model_folder
from neuraltuning.errors import InputError, RunError
from neuraltuning.generation.prior import ImagePrior
from neuraltuning.model import MultitaskModel, Query
from neuraltuning.tasks import get_task
from tests.tiny_models import lively, llm_folder, model_settings, sample

ADAPTER = "adapter/adapter_model.safetensors"
HEADS = "heads.safetensors"
EXAMPLES = [
    e
    for name in ("reasoning_segmentation", "text_to_image")
    for e in get_task(name).examples(sample(), np.random.default_rng(0))
]
QUERY = Query(sample().image, "Please segment the red square.", max_new_tokens=25)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def saved(parts: Path) -> dict[str, Path]:
    """One saved model a tuner."""
    settings = model_settings(parts)
    folders = {}
    for method in ("neural_tuning", "lora"):
        tuner = settings.tuner.model_copy(update={"method": method})
        model = lively(MultitaskModel.build(settings.model_copy(update={"tuner": tuner})))
        with torch.no_grad():
            model.bridges["mask"].mean.normal_()  # a fitted buffer
        folders[method] = model.save_pretrained(parts / "saved" / method)
    return folders


@pytest.fixture
def copy(saved: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the saved model that may be damaged."""
    return Path(shutil.copytree(saved["neural_tuning"], tmp_path / "model"))


def error_of(folder: Path) -> str:
    """The sentence that loading `folder` ends with."""
    with pytest.raises(InputError) as caught:
        MultitaskModel.from_pretrained(folder)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert len(sentence) < 600
    return sentence


@pytest.mark.parametrize("method", ["neural_tuning", "lora"])
@pytest.mark.parametrize("llm", ["llama", "llama_tied", "qwen2", "gemma3_text"])
def test_a_model_comes_back_the_same(parts: Path, tmp_path: Path, llm: str, method: str) -> None:
    settings = model_settings(parts, llm)
    tuner = settings.tuner.model_copy(update={"method": method})
    model = lively(MultitaskModel.build(settings.model_copy(update={"tuner": tuner})))
    assert model.save_pretrained(tmp_path / "model") == tmp_path / "model"
    again = MultitaskModel.from_pretrained(tmp_path / "model")
    assert not again.training
    assert again.settings == model.settings
    state = again.trained_state()
    for name, tensor in model.trained_state().items():
        assert torch.equal(tensor, state[name]), name
    one, other = (m.reply_batch([QUERY, Query(sample(2).image, "a b c", max_new_tokens=12)]) for m in (model, again))
    for first, second in zip(one, other, strict=True):
        assert first.text == second.text
        np.testing.assert_array_equal(first.masks, second.masks)
        np.testing.assert_array_equal(first.scores, second.scores)
        assert [i.tobytes() for i in first.images] == [i.tobytes() for i in second.images]
    forced = [m.teacher_forced(EXAMPLES) for m in (model, again)]
    np.testing.assert_array_equal(forced[0][0].masks, forced[1][0].masks)
    assert forced[0][1].images[0].tobytes() == forced[1][1].images[0].tobytes()


def test_a_loaded_model_can_be_trained_on(saved: dict[str, Path]) -> None:
    for folder in saved.values():
        model = MultitaskModel.from_pretrained(folder)
        assert all(p.requires_grad for p in model.trainable_parameters().values())
        assert any(name.startswith("tuner.") for name in model.trainable_parameters())


def test_the_folder_holds_what_was_trained_and_nothing_frozen(saved: dict[str, Path]) -> None:
    folder = saved["neural_tuning"]
    names = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert {"config.json", HEADS, ADAPTER, "adapter/adapter_config.json", "tokenizer/tokenizer.json"} <= names
    assert sum(name.endswith((".safetensors", ".bin", ".pt")) for name in names) == 2
    model = MultitaskModel.from_pretrained(folder)
    trained = sum(p.numel() for p in model.trainable_parameters().values())
    buffers = sum(b.mean.numel() + b.scale.numel() for b in map(model.bridge, model.bridges))
    tensors = [load_file(folder / name) for name in (HEADS, ADAPTER)]
    assert sum(t.numel() for file in tensors for t in file.values()) == trained + buffers
    assert not any(
        word in key for file in tensors for key in file for word in ("embed_tokens", "lm_head", "base_layer")
    )


def test_the_folder_of_a_run_serves_as_well(saved: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(saved["neural_tuning"], tmp_path / "run" / "model")
    assert MultitaskModel.from_pretrained(tmp_path / "run").reply_batch([QUERY])[0].text


def test_saving_replaces_the_folder_as_a_whole(saved: dict[str, Path], copy: Path) -> None:
    (copy / "left_over.txt").write_text("from before")
    model = MultitaskModel.from_pretrained(saved["lora"])
    model.save_pretrained(copy)
    assert not (copy / "left_over.txt").exists()
    assert MultitaskModel.from_pretrained(copy).settings.tuner.method == "lora"
    assert [p.name for p in copy.parent.iterdir()] == ["model"]


def test_a_full_disk_leaves_the_model_of_before(
    saved: dict[str, Path], copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = MultitaskModel.from_pretrained(saved["lora"])

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(neuraltuning.model_folder, "save_file", full)
    with pytest.raises(RunError, match=r"No space left on device.*untouched"):
        model.save_pretrained(copy)
    assert MultitaskModel.from_pretrained(copy).settings.tuner.method == "neural_tuning"
    assert [p.name for p in copy.parent.iterdir()] == ["model"]


# --- what can be wrong with a folder ------------------------------------------------------------------------------


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "nowhere", tmp_path / "file"):
        assert str(path) in error_of(path)


@pytest.mark.parametrize("name", ["config.json", HEADS, ADAPTER, "adapter/adapter_config.json"])
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    sentence = error_of(copy)
    assert name in sentence
    assert str(copy) in sentence


@pytest.mark.parametrize("name", ["config.json", HEADS, ADAPTER, "adapter/adapter_config.json"])
@pytest.mark.parametrize("size", [0, 60], ids=["empty", "truncated"])
def test_a_damaged_file_is_named(copy: Path, name: str, size: int) -> None:
    (copy / name).write_bytes((copy / name).read_bytes()[:size])
    assert name.split("/")[0] in error_of(copy)


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "null",
        "{}",
        '{"format_version": 1}',
        '{"format_version": 1, "model": 3}',
        '{"format_version": 1, "model": {}, "written_for": 3}',
        "3",
    ],
)
def test_a_config_of_another_kind(copy: Path, text: str) -> None:
    (copy / "config.json").write_text(text)
    assert str(copy / "config.json") in error_of(copy)


@pytest.mark.parametrize("text", ["[]", "null", "{}", '{"peft_type": "NOTHING"}', '{"peft_type": "LORA", "x": 1}'])
def test_an_adapter_config_of_another_kind(copy: Path, text: str) -> None:
    (copy / "adapter" / "adapter_config.json").write_text(text)
    assert "adapter" in error_of(copy)


def change_config(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


def test_a_config_of_another_version_or_with_unknown_keys(copy: Path) -> None:
    change_config(copy, lambda config: config["model"].update(projecter_size=3))
    assert "projecter_size" in error_of(copy)
    change_config(copy, lambda config: config.update(format_version=99))
    assert "99" in error_of(copy)


def other_prior(copy: Path, folder: Path, change: Callable[[ImagePrior], object]) -> None:
    """Has the model in `copy` draw with a changed image prior."""
    path = json.loads((copy / "config.json").read_text())["model"]["decoders"]["image"]["prior"]
    prior = ImagePrior.load(Path(path))
    change(prior)
    prior.save(folder / "prior.safetensors")
    other = str(folder / "prior.safetensors")
    change_config(copy, lambda config: config["model"]["decoders"]["image"].update(prior=other))


def test_an_image_prior_that_reads_other_components(copy: Path, tmp_path: Path) -> None:
    """It would draw, without a word, what was not asked for."""
    other_prior(copy, tmp_path, lambda prior: prior.component_mean.add_(1.0))
    sentence = error_of(copy)
    assert str(copy / "config.json") in sentence
    assert "decoder image" in sentence
    assert "components" in sentence
    change_config(copy, lambda config: config.pop("written_for"))  # as models that were saved before it was checked
    assert MultitaskModel.from_pretrained(copy)


def test_another_image_prior_that_reads_the_same_components(copy: Path, tmp_path: Path) -> None:
    other_prior(copy, tmp_path, lambda prior: nn.init.normal_(prior.logits.weight))
    assert MultitaskModel.from_pretrained(copy)


def test_a_language_model_that_is_gone(copy: Path) -> None:
    change_config(copy, lambda config: config["model"].update(llm="/nowhere/llm"))
    assert "/nowhere/llm" in error_of(copy)


def test_an_encoder_that_is_gone(copy: Path) -> None:
    change_config(copy, lambda config: config["model"].update(encoder="/nowhere/encoder"))
    assert "/nowhere/encoder" in error_of(copy)


@pytest.mark.parametrize("method", ["neural_tuning", "lora"])
def test_a_language_model_of_another_width(saved: dict[str, Path], parts: Path, tmp_path: Path, method: str) -> None:
    wide = llm_folder(parts / "wide", "llama", hidden_size=64)
    folder = Path(shutil.copytree(saved[method], tmp_path / "model"))
    change_config(folder, lambda config: config["model"].update(llm=str(wide)))
    sentence = error_of(folder)
    assert "adapter" in sentence
    assert str(wide) in sentence


@pytest.mark.parametrize("method", ["neural_tuning", "lora"])
def test_a_language_model_of_another_depth(saved: dict[str, Path], parts: Path, tmp_path: Path, method: str) -> None:
    for name, layers in (("deep", 4), ("flat", 2)):
        other = llm_folder(parts / name, "llama", num_hidden_layers=layers)
        folder = Path(shutil.copytree(saved[method], tmp_path / name))
        change_config(folder, lambda config, other=other: config["model"].update(llm=str(other)))  # type: ignore[misc]
        assert "adapter" in error_of(folder)


def change_tensors(path: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


@pytest.mark.parametrize("method", ["neural_tuning", "lora"])
@pytest.mark.parametrize("name", [HEADS, ADAPTER])
def test_a_missing_a_misshapen_and_a_surplus_tensor(
    saved: dict[str, Path], tmp_path: Path, name: str, method: str
) -> None:
    keys = sorted(load_file(saved[method] / name))
    key = keys[len(keys) // 2]

    def misshape(tensors: dict[str, torch.Tensor]) -> None:
        tensors[key] = torch.zeros(*tensors[key].shape, 2)

    changes: dict[str, Callable[[dict[str, torch.Tensor]], Any]] = {
        "missing": lambda tensors: tensors.pop(key),
        "misshapen": misshape,
        "surplus": lambda tensors: tensors.update({key.replace(".", ".surplus_", 1): torch.zeros(2)}),
    }
    for kind, change in changes.items():
        folder = Path(shutil.copytree(saved[method], tmp_path / kind))
        change_tensors(folder / name, change)
        sentence = error_of(folder)
        assert name.split("/")[0] in sentence, kind
