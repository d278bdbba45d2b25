"""Loading a language model and its tokenizer by name. Knows nothing of tuners, images or tasks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuraltuning.embedded import smollm2_folder
from neuraltuning.errors import InputError
from neuraltuning.hub import pretrained_arguments

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

EMBEDDED_LLM = "smollm2-135m"
"""The name of the language model that installs as a package: SmolLM2-135M-Instruct (Apache-2.0)."""


def load_llm(name_or_path: str, dtype: torch.dtype) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Loads a causal language model in evaluation mode, on the CPU, with its tokenizer.

    Args:
        name_or_path: `EMBEDDED_LLM`, a folder that transformers saved, a Hugging Face repository, or a GGUF file.
        dtype: of the weights: torch.bfloat16, torch.float32, ...

    Returns:
        The model, and the tokenizer; where that has no padding token, its end-of-sequence token pads.

    Raises:
        InputError: no such model, no causal language model, or one whose weights don't fit its configuration.
    """
    if name_or_path == EMBEDDED_LLM:
        model, tokenizer = _load(str(smollm2_folder()), dtype)
    elif name_or_path.endswith(".gguf"):
        model, tokenizer = load_gguf(Path(name_or_path).expanduser(), dtype)
    else:
        model, tokenizer = _load(name_or_path, dtype)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model.eval(), tokenizer


def load_gguf(path: Path, dtype: torch.dtype) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Reads a GGUF file into an ordinary dense model, which trains and saves like any other.

    Raises:
        InputError: no such file, the package `gguf` is missing, or transformers can't read the file.
    """
    import importlib.util

    import transformers

    if not path.is_file():
        raise InputError(f"There is no GGUF file {path}.")
    if importlib.util.find_spec("gguf") is None:
        raise InputError(f"Reading {path.name} needs the package gguf; install it with: pip install gguf")
    arguments: dict[str, Any] = {"gguf_file": path.name, "dtype": dtype}
    if hasattr(transformers, "GgufConfig"):  # newer releases would keep the weights packed
        arguments["quantization_config"] = transformers.GgufConfig(dequantize=True)
    with _sentences(str(path)):
        model = transformers.AutoModelForCausalLM.from_pretrained(path.parent, **arguments)
        tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    _forget_quantization(model)
    return model, tokenizer


def _load(name: str, dtype: torch.dtype) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    arguments = pretrained_arguments(name, "language model")
    with _sentences(name), no_progress_bars():
        # Tensors that don't fit are listed rather than raised, so that the message can name one.
        model, loading = AutoModelForCausalLM.from_pretrained(
            name, dtype=dtype, output_loading_info=True, ignore_mismatched_sizes=True, **arguments
        )
        tokenizer = AutoTokenizer.from_pretrained(name, **arguments)
    for key, found, expected in sorted(loading["mismatched_keys"]):
        raise InputError(
            f"The language model {name} has {key} of shape {tuple(found)}, but its config.json makes it "
            f"{tuple(expected)}: get the two from one model."
        )
    for key in sorted(loading["missing_keys"]):
        raise InputError(f"The language model {name} lacks the weights of {key}: get a complete copy.")
    return model, tokenizer


def _forget_quantization(model: PreTrainedModel) -> None:
    """The weights are dense now, but transformers refuses to save or train what bears the mark of a quantised file."""
    for mark in ("hf_quantizer", "quantization_method", "is_quantized"):
        vars(model).pop(mark, None)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config


@contextmanager
def _sentences(name: str) -> Iterator[None]:
    """Turns what transformers raises for an unusable model into one sentence that names the model."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        if "trust_remote_code" in str(error):
            reason = "it comes with code of its own, which is never run here; use a model that transformers supports"
        raise InputError(f"The language model {name} can't be loaded: {reason}") from error


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Keeps transformers from drawing a bar for what takes a second."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
