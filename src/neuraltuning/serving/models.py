"""Loading several tuned models over frozen parts that are loaded once. Knows nothing about requests."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from neuraltuning.errors import InputError

if TYPE_CHECKING:
    from neuraltuning.model import MultitaskModel

_NAME = re.compile(r"[A-Za-z0-9][\w.:/-]{0,119}", re.ASCII)


def load_models(folders: Mapping[str, str | os.PathLike[str]]) -> dict[str, MultitaskModel]:
    """Loads tuned models by name onto the best device; those that name the same LLM, or encoder, share it.

    Raises:
        InputError: no model, a name that can't be one, or a folder that is no saved model.
    """
    if not folders:
        raise InputError("There is no model to load; name the folder of one.")
    for name in folders:
        if not _NAME.fullmatch(name):
            raise InputError(
                f"A model can't be called {name[:60]!r}; use letters, digits, dots, colons, slashes, dashes and "
                "underscores, at most 120."
            )

    from neuraltuning.device import best_device
    from neuraltuning.frozen_parts import FrozenParts
    from neuraltuning.model import MultitaskModel
    from neuraltuning.model_folder import load_model

    frozen = FrozenParts()
    device = best_device()
    return {name: load_model(MultitaskModel, folder, frozen=frozen).to(device) for name, folder in folders.items()}
