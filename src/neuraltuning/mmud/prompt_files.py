"""The prompts: files in the package, or one's own in their place, each with a stamp that its answers carry."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from neuraltuning.errors import InputError

_PLACEHOLDER = re.compile(r"\{[A-Za-z_]+\}")


@dataclass(frozen=True)
class Prompt:
    """A prompt with placeholders.

    Attributes:
        text: with `{objects}` and the like.
        stamp: the file's name and the first 16 hexadecimal digits of its SHA-256.
    """

    text: str
    stamp: str

    def fill(self, **values: str) -> str:
        """The prompt with a value in the place of each placeholder."""
        return _PLACEHOLDER.sub(lambda found: values[found[0][1:-1]], self.text).strip()


def load_prompt(name: str, folder: Path | None, placeholders: Sequence[str]) -> Prompt:
    """Reads a prompt.

    Args:
        name: of the file: "annotate.md".
        folder: that it is in; None for the package's own.
        placeholders: that it may hold.

    Raises:
        InputError: there is no such file, it is no text, or it holds another placeholder.
    """
    path = resources.files("neuraltuning.mmud") / "prompts" / name if folder is None else folder / name
    try:
        data = path.read_bytes()
        text = data.decode("utf-8")
    except OSError as error:
        raise InputError(f"The prompt {path} can't be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"The prompt {path} is no UTF-8 text.") from error
    if not text.strip():
        raise InputError(f"The prompt {path} is empty.")
    for found in _PLACEHOLDER.findall(text):
        if found[1:-1] not in placeholders:
            known = ", ".join(f"{{{placeholder}}}" for placeholder in placeholders)
            raise InputError(f"The prompt {path} holds {found}; it may hold {known}.")
    return Prompt(text, f"{name} {hashlib.sha256(data).hexdigest()[:16]}")
