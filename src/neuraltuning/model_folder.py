"""A tuned model as a folder: what is in it, and what is said when something of it is missing or doesn't fit.

    config.json          `ModelSettings`, the format's version, and what the decoders' frozen parts were
    adapter/             the tuner in peft's format
    heads.safetensors    projector, names, task tokens' rows, bridges, decoders (without their frozen parts)
    tokenizer/           with the task tokens

The frozen LLM and encoder are named in config.json and not copied.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from peft import PeftConfig, get_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from neuraltuning.configuration import validate_settings
from neuraltuning.errors import InputError
from neuraltuning.files import atomic_path
from neuraltuning.frozen_parts import FrozenParts
from neuraltuning.model_settings import DType, ModelSettings
from neuraltuning.precision import resolve_dtype

if TYPE_CHECKING:
    from neuraltuning.model import MultitaskModel

CONFIG = "config.json"
ADAPTER = "adapter"
HEADS = "heads.safetensors"
TOKENIZER = "tokenizer"
RUN_SUBFOLDER = "model"
FORMAT_VERSION = 1


def save_model(model: MultitaskModel, folder: str | os.PathLike[str]) -> Path:
    """Writes `model` to `folder`, as a whole or not at all.

    Raises:
        RunError: the folder could not be written; what stood there before is untouched.
    """
    with atomic_path(folder, directory=True) as temporary:
        model.llm.save_pretrained(str(temporary / ADAPTER), save_embedding_layers=False)  # new rows are in the heads
        save_file({k: v.detach().contiguous().cpu() for k, v in model.heads().items()}, temporary / HEADS)
        model.format.tokenizer.save_pretrained(str(temporary / TOKENIZER))
        config = {
            "format_version": FORMAT_VERSION,
            "model": model.settings.model_dump(mode="json"),
            "written_for": _written_for(model),
        }
        (temporary / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return Path(folder)


def load_model(
    model_class: type[MultitaskModel],
    folder: str | os.PathLike[str],
    dtype: DType | None = None,
    frozen: FrozenParts | None = None,
) -> MultitaskModel:
    """Reads a model that `save_model` wrote.

    Args:
        model_class: what is made of it.
        folder: the model's, or that of the run that wrote it.
        dtype: of the frozen parts, in place of what the model's settings say.
        frozen: where the frozen parts come from; left out, they are the model's own.

    Raises:
        InputError: the folder is no saved model, or a file in it is missing or doesn't fit.
    """
    folder = find_model(folder)
    settings, written_for = _read_config(folder / CONFIG)
    if dtype is not None:
        settings = settings.model_copy(update={"dtype": dtype})
    adapter_files = [f"{ADAPTER}/adapter_config.json", f"{ADAPTER}/adapter_model.safetensors"]
    for name in (HEADS, *adapter_files):
        if not (folder / name).is_file():
            raise InputError(f"The model folder {folder} has no {name}; save or copy the model again.")
    heads, adapter = (_read_tensors(folder / name) for name in (HEADS, adapter_files[1]))
    try:
        PeftConfig.from_pretrained(str(folder / ADAPTER))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder / adapter_files[0]} is damaged; save or copy the model again.") from error
    frozen = frozen or FrozenParts()
    llm, tokenizer = frozen.llm(settings.llm, resolve_dtype(settings.dtype))
    encoder = frozen.encoder(settings.encoder)
    model = model_class(settings, llm=llm, tokenizer=tokenizer, encoder=encoder, adapter_folder=str(folder / ADAPTER))
    odd = sorted(set(get_peft_model_state_dict(model.llm)) ^ set(adapter))
    if odd:  # peft itself passes over some of these
        problem = "has the surplus" if odd[0] in adapter else "lacks the"
        raise InputError(
            f"{folder / adapter_files[1]} {problem} tensor {odd[0]} for the language model {settings.llm!r}; "
            "save or copy the model again."
        )
    _load_heads(model, heads, folder / HEADS)
    here = _written_for(model)
    for name, part in written_for.items():
        if name in here and part != here[name]:
            raise InputError(
                f"{folder / CONFIG}: the decoder {name} was trained for the {part}, and here are the {here[name]}, for "
                f"which it would write nonsense: name its own in model.decoders.{name}, or tune the model again."
            )
    return model.eval()


def find_model(folder: str | os.PathLike[str]) -> Path:
    """The model's folder: `folder` itself, or `model` in it where `folder` is a run's."""
    folder = Path(folder)
    inside = folder / RUN_SUBFOLDER
    return inside if not (folder / CONFIG).is_file() and (inside / CONFIG).is_file() else folder


def _read_config(path: Path) -> tuple[ModelSettings, dict[str, str]]:
    """The settings of a saved model, and what its decoders were written for."""
    if not path.is_file():
        raise InputError(f"{path.parent} is no saved model: it has no {CONFIG}. Give a folder that `tune` wrote.")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        version, settings = config["format_version"], config["model"]
        written_for = {**config.get("written_for", {})}  # models of the first days lack it
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is damaged; save or copy the model again.") from error
    if version != FORMAT_VERSION:
        raise InputError(f"{path} has format version {version}, this program reads version {FORMAT_VERSION}.")
    return validate_settings(ModelSettings, settings, str(path)), written_for


def _written_for(model: MultitaskModel) -> dict[str, str]:
    """By a decoder's name what its trained parameters are written for, of decoders that say it."""
    parts = {name: model.decoder(name).written_for for name in model.decoders}
    return {name: part for name, part in parts.items() if part is not None}


def _read_tensors(path: Path) -> dict:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is damaged ({error}); save or copy the model again.") from error


def _load_heads(model: MultitaskModel, heads: dict, path: Path) -> None:
    own = model.heads()
    for name, tensor in own.items():
        if name not in heads:
            raise InputError(f"{path} lacks the tensor {name}; save or copy the model again.")
        if heads[name].shape != tensor.shape:
            raise InputError(
                f"{path}: the tensor {name} has the shape {tuple(heads[name].shape)}, but the configuration beside it "
                f"asks for {tuple(tensor.shape)}; config.json and the weights belong to different models."
            )
    surplus = sorted(set(heads) - set(own))
    if surplus:
        raise InputError(f"{path} has tensors that the configuration beside it doesn't know: {', '.join(surplus[:3])}.")
    model.load_trained_state(heads)
