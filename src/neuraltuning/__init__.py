"""Neural tuning: one frozen language model, tuned beside itself, that segments, reasons, captions and draws.

The public names below are imported on first use (PEP 562), so that `import neuraltuning` alone loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from neuraltuning.data.sample import Sample
    from neuraltuning.encoders import load_encoder
    from neuraltuning.errors import InputError, NeuralTuningError, RunError
    from neuraltuning.llm import load_llm
    from neuraltuning.model import MultitaskModel, Query
    from neuraltuning.reply import Reply
    from neuraltuning.tuners import NeuralTuningConfig, NeuralTuningModel

_HOMES = {
    "InputError": "neuraltuning.errors",
    "MultitaskModel": "neuraltuning.model",
    "NeuralTuningConfig": "neuraltuning.tuners",
    "NeuralTuningError": "neuraltuning.errors",
    "NeuralTuningModel": "neuraltuning.tuners",
    "Query": "neuraltuning.model",
    "Reply": "neuraltuning.reply",
    "RunError": "neuraltuning.errors",
    "Sample": "neuraltuning.data.sample",
    "load_encoder": "neuraltuning.encoders",
    "load_llm": "neuraltuning.llm",
}

__all__ = [
    "InputError",
    "MultitaskModel",
    "NeuralTuningConfig",
    "NeuralTuningError",
    "NeuralTuningModel",
    "Query",
    "Reply",
    "RunError",
    "Sample",
    "__version__",
    "load_encoder",
    "load_llm",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
