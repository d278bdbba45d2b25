"""Which language a text is in. Knows nothing of what the texts are for."""

from __future__ import annotations

import functools
import importlib.util
from typing import Any

from neuraltuning.errors import InputError

CONFIDENCE = 0.5
"""From which on another language is believed; a few words in another script stay below it."""


def check_language(code: str) -> None:
    """Refuses a language that can't be recognised.

    Raises:
        InputError: the code is unknown, or the package that recognises languages is missing.
    """
    if code not in _identifier().labels:
        raise InputError(f"--language {code!r} is unknown; give an ISO 639-1 code: en, de, zh, ...")


def other_language(text: str, expected: str) -> str | None:
    """The ISO 639-1 code of the text's language where it is surely not the expected one."""
    language, confidence = _identifier().classify(text)
    return str(language) if language != expected and confidence >= CONFIDENCE else None


@functools.cache
def _identifier() -> Any:
    if importlib.util.find_spec("py3langid") is None:
        raise InputError("This needs the package py3langid; install it with: pip install 'neuraltuning[mmud]'")
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
