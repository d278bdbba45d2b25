"""Loading several tuned models over frozen parts that are loaded once. Knows nothing about requests."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neuraltuning.model import MultitaskModel


def load_models(folders: Mapping[str, str | os.PathLike[str]]) -> dict[str, MultitaskModel]:
    """Loads tuned models by name; those that name the same LLM, or the same encoder, share it.

    Raises:
        InputError: no model, a name that can't be one, or a folder that is no saved model.
    """
    raise NotImplementedError
