"""Writes a tuned model as a folder of ONNX files with a manifest, as a whole or not at all.

    neuraltuning export MODEL --onnx DIR

Each file is compared with the model before it counts as written. Knows nothing of what the parts do.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from neuraltuning.decoders.image import ImageDecoder
from neuraltuning.decoders.mask import MaskDecoder
from neuraltuning.errors import InputError, RunError
from neuraltuning.export.check import check
from neuraltuning.export.image_parts import EncoderPart, ProjectorPart
from neuraltuning.export.language_parts import EmbeddingPart, LanguagePart
from neuraltuning.export.manifest import (
    MANIFEST,
    TOKENIZER,
    TOKENIZER_FILE,
    describe_file,
    describe_folder,
    is_export,
)
from neuraltuning.export.mask_part import MaskPart
from neuraltuning.export.part import NotExportable, Part
from neuraltuning.export.tracing import open_file, trace
from neuraltuning.files import atomic_path, write_json
from neuraltuning.model import MultitaskModel
from neuraltuning.model_folder import load_model

logger = logging.getLogger(__name__)


def export_onnx(source: Path, target: Path) -> dict[str, Any]:
    """Writes the model saved in `source` to `target`, with its frozen parts, in float32.

    Args:
        source: folder of a model, or of the run that wrote it.
        target: a new or empty folder, or one that an export wrote, which is replaced.

    Returns:
        The manifest. What of the model has no ONNX form stands in its `not_exported`, with the reason.

    Raises:
        InputError: `source` is no saved model, or `target` holds other files.
        RunError: a file computes something else than the model, or can't be written, and `target` is untouched; or a
            part has no ONNX form, and `target` is written without it.
    """
    check_target(target)
    return export_model(load_model(MultitaskModel, source, dtype="float32"), target)


def check_target(target: Path) -> None:
    """Refuses a target that would cost somebody files.

    Raises:
        InputError: it is a file, or a folder with something in it that no export wrote.
    """
    if target.is_file():
        raise InputError(f"{target} is a file; name a folder for the ONNX files.")
    if target.is_dir() and any(target.iterdir()) and not is_export(target):
        raise InputError(
            f"The folder {target} is not empty and holds no earlier export, which would be replaced; name a new folder."
        )


@torch.no_grad()
def export_model(model: MultitaskModel, target: Path) -> dict[str, Any]:
    """`export_onnx` for a loaded model, whose frozen parts are in float32."""
    builders, not_exported = _parts(model)
    files: dict[str, dict[str, Any]] = {}
    with atomic_path(target, directory=True) as temporary:
        for name, build in builders.items():
            logger.info("Exporting %s.", name)
            try:
                files[name] = _export(build(), temporary / f"{name}.onnx")
            except NotExportable as error:
                not_exported[name] = str(error)
                for path in temporary.glob(f"{name}.onnx*"):
                    path.unlink()
        model.format.tokenizer.save_pretrained(str(temporary / TOKENIZER))
        if not (temporary / TOKENIZER / TOKENIZER_FILE).is_file():
            not_exported[TOKENIZER] = f"The tokenizer has no {TOKENIZER_FILE}, which reading it without torch needs."
        manifest = describe_folder(model, files, not_exported)
        write_json(temporary / MANIFEST, manifest)
    for sentence in not_exported.values():
        logger.warning(sentence)
    if missing := [name for name in builders if name not in files]:
        raise RunError(f"{target} was written without {' and '.join(missing)}; {MANIFEST} in it says why.")
    return manifest


def _export(part: Part, path: Path) -> dict[str, Any]:
    trace(part, path)
    return describe_file(part, path, check(part, open_file(part.name, path)))


def _parts(model: MultitaskModel) -> tuple[dict[str, Callable[[], Part]], dict[str, str]]:
    """What makes each part of a model, by name, and what is in none of them -> why."""
    builders: dict[str, Callable[[], Part]] = {
        EncoderPart.name: partial(EncoderPart, model),
        ProjectorPart.name: partial(ProjectorPart, model),
        EmbeddingPart.name: partial(EmbeddingPart, model),
        LanguagePart.name: partial(LanguagePart, model),
    }
    without: dict[str, str] = {}
    for name in model.decoders:
        decoder = model.decoder(name)
        if isinstance(decoder, MaskDecoder):
            builders[MaskPart.name] = partial(MaskPart, model, model.bridge(name), decoder)
        elif isinstance(decoder, ImageDecoder):
            without[name] = (
                f"Pictures are not drawn from ONNX files: behind {decoder.token} stands a prior that samples; "
                "`neuraltuning predict` draws them."
            )
        else:
            without[name] = f"The decoder of {decoder.token} has no ONNX form; its tokens stand in the text alone."
    return builders, without
