"""Pretrained parts on disk: weights in half precision as safetensors, configuration, recipe and scores as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from safetensors.torch import load_file, save
from torch import nn

from neuraltuning.errors import InputError
from neuraltuning.files import atomic_path, write_json

Part = TypeVar("Part", bound=nn.Module)


def save_part(part: nn.Module, config: Mapping[str, Any], path: Path, facts: Mapping[str, object]) -> None:
    """Writes `path` (.safetensors, float16) and the JSON beside it: {"config": ..., **facts}.

    Raises:
        RunError: the disk is full or read-only.
    """
    weights = {name: value.detach().cpu().half().contiguous() for name, value in part.state_dict().items()}
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(weights))  # `save_file` would leave the file readable to its owner alone
    write_json(path.with_suffix(".json"), {"config": dict(config), **facts})


def load_part(path: Path, build: Callable[[dict[str, Any]], Part]) -> Part:
    """Builds a part from the JSON beside `path` and fills it with the weights: frozen, in `eval` mode, float32.

    Raises:
        InputError: the files are missing, damaged, or don't fit each other.
    """
    try:
        part = build(read_facts(path)["config"])
        part.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    except InputError:
        raise
    except Exception as error:  # damaged files fail in many ways, all with the same remedy
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"The weights {path} can't be read ({type(error).__name__}: {reason}); "
            "restore them from the repository or run the pretraining again (docs/image-generation.md)."
        ) from error
    return part.requires_grad_(False).eval()


def read_facts(path: Path) -> dict[str, Any]:
    """The JSON beside the weights `path`: configuration, recipe, scores.

    Raises:
        InputError: it is missing or damaged.
    """
    facts = path.with_suffix(".json")
    try:
        value = json.loads(facts.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{facts} can't be read ({error}); restore it from the repository or run the pretraining again."
        ) from error
    if not isinstance(value, dict) or "config" not in value:
        raise InputError(f"{facts} lacks the key 'config'; restore it from the repository.")
    return value
