"""The command `neuraltuning export`. It imports what it runs, so that `--help` answers at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neuraltuning.errors import InputError
from neuraltuning.interruption import interruptible

PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def export(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="Folder that `neuraltuning tune` wrote, or a model's own folder.")
    ],
    onnx: Annotated[Path, typer.Option("--onnx", metavar="DIR", help="New folder for ONNX files and their manifest.")],
) -> None:
    """Write a model as ONNX files that answer without torch, each checked against the model."""
    from importlib.util import find_spec

    if not model.is_dir():
        raise InputError(f"There is no folder {model}; `neuraltuning tune` writes one.")
    missing = [package for package in PACKAGES if find_spec(package) is None]
    if missing:
        raise InputError(
            f"Exporting needs the package{'s' * (len(missing) > 1)} {', '.join(missing)}: "
            "pip install 'neuraltuning[export]'"
        )
    with interruptible("Nothing was written: run the same command again to start over."):
        from neuraltuning.export.folder import export_onnx
        from neuraltuning.export.manifest import MANIFEST

        manifest = export_onnx(model, onnx)
        size = sum(part["bytes"] for part in manifest["parts"].values()) / 1e6
        typer.echo(f"{onnx / MANIFEST}: {len(manifest['parts'])} files, {size:,.0f} MB")
