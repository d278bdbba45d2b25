"""Language models and encoders that several tuned models stand on, loaded once. Knows nothing of what is tuned."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from neuraltuning.encoders import load_encoder
from neuraltuning.llm import load_llm

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from neuraltuning.encoders.base import ImageEncoder


class FrozenParts:
    """Loads each part when it is first asked for, and then gives it again."""

    def __init__(self) -> None:
        self._llms: dict[tuple[str, torch.dtype], tuple[PreTrainedModel, PreTrainedTokenizerBase]] = {}
        self._encoders: dict[str, ImageEncoder] = {}

    def llm(self, name_or_path: str, dtype: torch.dtype) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """What `load_llm` gives: modules and a tokenizer for each caller alone, over weights that all of them share.

        So each may get a tuner of its own, of any method, and none has to be switched on for another's turn.

        Raises:
            InputError: as `load_llm`.
        """
        key = _place(name_or_path), dtype
        if key not in self._llms:
            self._llms[key] = load_llm(name_or_path, dtype)
        llm, tokenizer = self._llms[key]
        weights = {id(tensor): tensor for tensor in (*llm.parameters(), *llm.buffers())}
        return copy.deepcopy(llm, weights), copy.deepcopy(tokenizer)

    def encoder(self, name_or_path: str) -> ImageEncoder:
        """What `load_encoder` gives, the same for all callers.

        Raises:
            InputError: as `load_encoder`.
        """
        key = _place(name_or_path)
        if key not in self._encoders:
            self._encoders[key] = load_encoder(name_or_path)
        return self._encoders[key]


def _place(name_or_path: str) -> str:
    """The same for all ways to write a path."""
    path = Path(name_or_path).expanduser()
    return str(path.resolve()) if path.exists() else name_or_path
