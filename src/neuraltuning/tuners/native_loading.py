"""Showing a method of ours the weights that transformers' own `load_adapter` is about to read.

transformers injects an adapter first, reads its weights afterwards and only lists those that don't fit. It does not
tell the method, which injects, where the weights are. So its `load_adapter` is wrapped here to note its arguments; what
it does stays as it is. Knows nothing about any particular method.
"""

from __future__ import annotations

import functools
import inspect
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft.utils import SAFETENSORS_WEIGHTS_NAME, WEIGHTS_NAME
from transformers.integrations.peft import PeftAdapterMixin
from transformers.modeling_utils import load_state_dict
from transformers.utils import cached_file

_arguments: ContextVar[dict[str, Any] | None] = ContextVar("arguments of the running load_adapter", default=None)


@dataclass
class SavedWeights:
    """What an adapter's file holds, without the values.

    Attributes:
        place: the file, or what else the weights come from.
        shapes: the parameters' shapes, by their names in the file.
    """

    place: str
    shapes: dict[str, tuple[int, ...]]

    @classmethod
    def of_file(cls, file: str | Path) -> SavedWeights:
        """Reads names and shapes alone."""
        return cls(str(file), _shapes(load_state_dict(str(file), map_location="meta")))


def weights_being_loaded() -> SavedWeights | None:
    """The weights that the running `load_adapter` will read; None where none runs, or where they can't be found."""
    arguments = _arguments.get()
    if arguments is None:
        return None
    if arguments.get("adapter_state_dict") is not None:
        return SavedWeights("adapter_state_dict", _shapes(arguments["adapter_state_dict"]))
    load_config = arguments.get("load_config")
    settings = {**(vars(load_config) if load_config else {}), **arguments.get("kwargs", {})}
    folder = arguments.get("peft_model_id") or settings.get("pretrained_model_name_or_path")
    if folder is None:
        return None
    download = {**(settings.get("download_kwargs") or {}), **(arguments.get("adapter_kwargs") or {})}
    if arguments.get("local_files_only"):
        download["local_files_only"] = True
    names = [SAFETENSORS_WEIGHTS_NAME, WEIGHTS_NAME]
    if settings.get("use_safetensors") is False:
        names.reverse()
    for name in names:
        try:
            file = cached_file(folder, name, **download)
        except OSError:
            continue  # transformers says it, if it does not find one either
        if file is not None:
            return SavedWeights.of_file(file)
    return None


def watch_load_adapter() -> None:
    """Wraps transformers' `load_adapter`, for `weights_being_loaded`."""
    original = PeftAdapterMixin.load_adapter
    signature = inspect.signature(original)

    @functools.wraps(original)
    def load_adapter(self: PeftAdapterMixin, *args: Any, **kwargs: Any) -> Any:
        token = _arguments.set(signature.bind(self, *args, **kwargs).arguments)
        try:
            return original(self, *args, **kwargs)
        finally:
            _arguments.reset(token)

    PeftAdapterMixin.load_adapter = load_adapter


def _shapes(state: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in state.items()}
