"""The command that shows a model on a page. It imports what it runs, so that `--help` answers at once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from neuraltuning.errors import InputError
from neuraltuning.interruption import interruptible

QUICKSTART = Path("runs/quickstart")


def demo(
    model: Annotated[
        Path | None,
        typer.Argument(metavar="MODEL", help=f"Folder that `neuraltuning tune` wrote; {QUICKSTART} by default."),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8080,
) -> None:
    """Try a tuned model on a page in the browser, on this computer alone."""
    folder = model_folder(model)
    try:
        from neuraltuning.serving.api.server import ServerSettings, serve
        from neuraltuning.serving.demo.app import add_demo
    except ImportError as error:
        raise InputError(
            f"The demo needs the package {error.name}; install it with: pip install 'neuraltuning[serve]'."
        ) from error
    name = model_name(folder)
    settings = ServerSettings(port=port)
    with interruptible("Run the same command again to try on."):
        typer.echo(f"Loading {folder} ...", err=True)
        serve(
            {name: folder},
            settings,
            lambda address: typer.echo(f"Try {name} at {address}/ in a browser; Ctrl-C stops.", err=True),
            add_demo,
        )
    typer.echo("Stopped.", err=True)


def model_name(folder: Path) -> str:
    """What the model in a folder is called: as the folder, as far as a model can be called so."""
    return re.sub(r"[^\w.-]+|^[^A-Za-z0-9]+", "", folder.resolve().name, flags=re.ASCII)[:60] or "model"


def model_folder(given: Path | None) -> Path:
    """The folder that was given, or the quickstart's.

    Raises:
        InputError: it is not there.
    """
    if given is None and not QUICKSTART.is_dir():
        raise InputError(f"There is no {QUICKSTART}: run `make quickstart` first, or name a model's folder.")
    folder = given or QUICKSTART
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}; `neuraltuning tune` writes one.")
    return folder
