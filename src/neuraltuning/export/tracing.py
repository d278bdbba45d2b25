"""Writes a part as an ONNX file, and runs such a file on tensors. Knows nothing of what parts do."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import onnxruntime
import torch
from onnx_ir.passes.common import ClearMetadataAndDocStringPass
from torch import Tensor
from torch.export import Dim

from neuraltuning.export.part import NotExportable, Part, Run


def trace(part: Part, path: Path) -> None:
    """Writes `part` to `path`, and its weights to a file beside it, `path` with `.data` behind.

    Raises:
        NotExportable: something in it has no ONNX form.
    """
    given = {"given": part.inputs}
    free = {name: dict.fromkeys(axes, Dim.DYNAMIC) for name, axes in part.open_axes.items()}
    with _quietly():
        try:
            # captured here rather than by `torch.onnx.export`, which falls back on a capture that doesn't follow hooks
            program = torch.export.export(part.eval(), (), given, dynamic_shapes={"given": free}, strict=False)
            exported = torch.onnx.export(
                program,
                kwargs=given,
                dynamic_shapes={"given": part.open_axes},
                input_names=list(part.inputs),
                output_names=list(part.outputs),
                verbose=False,
            )
        except Exception as error:  # the two raise all kinds for what they don't know
            raise NotExportable(part.name, f"torch can't express {part.name} in ONNX ({_reason(error)}).") from error
        assert exported is not None
        ClearMetadataAndDocStringPass()(exported.model)  # the lines of code behind each node, with their folders
        exported.save(path, external_data=True)


def open_file(name: str, path: Path) -> Run:
    """What runs the part called `name`, whose ONNX file is at `path`, on the processor.

    Raises:
        NotExportable: onnxruntime doesn't take the file; so does what is returned where it fails in a pass.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    with _onnxruntime(name):
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    outputs = [output.name for output in session.get_outputs()]

    def run(given: dict[str, Tensor]) -> dict[str, Tensor]:
        with _onnxruntime(name):
            found = session.run(outputs, {name: tensor.numpy() for name, tensor in given.items()})
        return {name: torch.from_numpy(array) for name, array in zip(outputs, found, strict=True)}

    return run


@contextlib.contextmanager
def _onnxruntime(name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # its exceptions have no class in common but this one
        raise NotExportable(name, f"onnxruntime can't run the exported {name} ({_reason(error)}).") from error


def _reason(error: BaseException) -> str:
    """The first line of what started an error."""
    while error.__cause__ is not None:
        error = error.__cause__
    line = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {line[:200]}".rstrip(".: ")


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without what the exporter tells its own authors."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
