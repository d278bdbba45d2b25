from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM

from neuraltuning import InputError, load_llm
from tests.tiny_gguf import write_tiny_gguf

IDS = torch.tensor([[1, 5, 9, 30, 2]])


@pytest.fixture(scope="module")
def gguf_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, LlamaForCausalLM]:
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    return path, write_tiny_gguf(path)


@pytest.fixture
def folder(tmp_path: Path, gguf_file: tuple[Path, LlamaForCausalLM]) -> Path:
    model, tokenizer = load_llm(str(gguf_file[0]), torch.float32)
    model.save_pretrained(tmp_path / "llm")
    tokenizer.save_pretrained(tmp_path / "llm")
    return tmp_path / "llm"


def refusal(name: str | Path) -> str:
    with pytest.raises(InputError) as caught:
        load_llm(str(name), torch.float32)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_gguf_file_gives_the_model_that_was_written(gguf_file: tuple[Path, LlamaForCausalLM]) -> None:
    path, written = gguf_file
    model, tokenizer = load_llm(str(path), torch.float32)
    with torch.no_grad():
        torch.testing.assert_close(model(IDS).logits, written(IDS).logits)
    assert not model.training
    assert tokenizer.decode(tokenizer("the cat").input_ids) == "the cat"
    assert tokenizer.pad_token == "<|im_end|>"


def test_folder_gives_the_saved_model_in_the_asked_dtype(
    folder: Path, gguf_file: tuple[Path, LlamaForCausalLM]
) -> None:
    model, _ = load_llm(str(folder), torch.float32)
    with torch.no_grad():
        torch.testing.assert_close(model(IDS).logits, gguf_file[1](IDS).logits)
    assert load_llm(str(folder), torch.bfloat16)[0].dtype == torch.bfloat16


def test_missing_tensor_is_refused_and_not_made_up(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.self_attn.v_proj.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert "lacks the weights of model.layers.1.self_attn.v_proj.weight" in refusal(folder)


def test_wrong_shape_is_refused(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"] = torch.ones(7)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert "has model.norm.weight of shape (7,), but its config.json makes it (32,)" in refusal(folder)


def test_truncated_weights_are_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    assert "can't be loaded" in refusal(folder)


def test_code_from_the_folder_is_never_run(tmp_path: Path) -> None:
    configuration = {"model_type": "own", "auto_map": {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"}}
    (tmp_path / "config.json").write_text(json.dumps(configuration))
    (tmp_path / "own.py").write_text("raise SystemExit('was run')")
    assert "code of its own, which is never run here" in refusal(tmp_path)


def test_other_kinds_of_models_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    assert f"The language model {tmp_path} can't be loaded" in refusal(tmp_path)


def test_names_that_lead_nowhere(tmp_path: Path) -> None:
    assert "has no config.json" in refusal(tmp_path)
    assert "There is no GGUF file" in refusal(tmp_path / "none.gguf")
    assert "There is no language model" in refusal(tmp_path / "none")
    assert "There is no language model ''" in refusal("")
    assert "is not in the Hugging Face cache, and the hub can't be reached" in refusal("organisation/model")
    (tmp_path / "junk.gguf").write_bytes(b"junk" * 100)
    assert "junk.gguf can't be loaded" in refusal(tmp_path / "junk.gguf")
