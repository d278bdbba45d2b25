"""The commands that serve tuned models. Each imports what it runs, so that `--help` answers at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, cast, get_args

import typer

from neuraltuning.errors import InputError
from neuraltuning.interruption import interruptible
from neuraltuning.serving.engine_types import EarlierTurns

KEY_VARIABLE = "NEURALTUNING_API_KEY"


def serve(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME=]MODEL",
            help="Folders that `neuraltuning tune` wrote; requests call each by its NAME, or by the folder's.",
        ),
    ],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8000,
    host: Annotated[str, typer.Option(help="Address to listen on; others than this computer's need an API key.")] = (
        "127.0.0.1"
    ),
    api_key_file: Annotated[
        Path | None, typer.Option(help=f"File with the key that clients have to send; or set {KEY_VARIABLE}.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Requests answered at once.")] = 8,
    queue: Annotated[int, typer.Option(min=0, help="Requests that may wait; further ones get 429.")] = 32,
    earlier_turns: Annotated[
        str, typer.Option(help="When a conversation's earlier turns are read: referred, always, never.")
    ] = "referred",
    max_body_mb: Annotated[int, typer.Option(min=1, help="Largest request, in MB.")] = 32,
    max_megapixels: Annotated[int, typer.Option(min=1, max=64, help="Largest picture.")] = 16,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest reply that may be asked for.")] = 1024,
    timeout: Annotated[float, typer.Option(min=1.0, help="Seconds that a request may take.")] = 120.0,
    drain: Annotated[float, typer.Option(min=0.0, help="Seconds to finish replies in when stopped.")] = 30.0,
    allow_image_host: Annotated[
        list[str] | None, typer.Option(metavar="HOST", help="Fetch pictures from there too; once for each.")
    ] = None,
    allow_origin: Annotated[
        list[str] | None, typer.Option(metavar="ORIGIN", help="Let that site's pages call the API; once for each.")
    ] = None,
) -> None:
    """Serve tuned models over HTTP, as OpenAI's clients call them."""
    folders = model_folders(models)
    key = _api_key(api_key_file)
    if earlier_turns not in get_args(EarlierTurns):
        raise InputError(f"--earlier-turns is {', '.join(get_args(EarlierTurns))}; not {earlier_turns[:60]!r}.")
    try:
        from neuraltuning.serving.api.limits import Limits
        from neuraltuning.serving.api.server import ServerSettings
        from neuraltuning.serving.api.server import serve as run
    except ImportError as error:
        raise InputError(
            f"Serving needs the package {error.name}; install it with: pip install 'neuraltuning[serve]'."
        ) from error
    settings = ServerSettings(
        host=host,
        port=port,
        key=key,
        limits=Limits(
            body_bytes=max_body_mb * 10**6,
            pixels=max_megapixels * 10**6,
            new_tokens=max_tokens,
            seconds=timeout,
            drain_seconds=drain,
        ),
        batch_size=batch_size,
        queue=queue,
        earlier=cast(EarlierTurns, earlier_turns),
        image_hosts=tuple(allow_image_host or ()),
        origins=tuple(allow_origin or ()),
    )
    names = ", ".join(folders)
    with interruptible("Run the same command again to serve."):
        run(folders, settings, lambda address: typer.echo(f"Serving {names} at {address}/v1; Ctrl-C stops.", err=True))
    typer.echo("Stopped.", err=True)


def model_folders(arguments: list[str]) -> dict[str, Path]:
    """Folders by name, from `FOLDER` and `NAME=FOLDER`.

    Raises:
        InputError: no such folder, or a name that stands twice or is none.
    """
    folders: dict[str, Path] = {}
    for argument in arguments:
        name, equals, path = argument.partition("=")
        if not equals or Path(argument).is_dir():
            name, path = Path(argument).resolve().name, argument
        if not Path(path).is_dir():
            raise InputError(f"There is no folder {path}; `neuraltuning tune` writes one.")
        if name in folders:
            raise InputError(f"Two models are called {name!r}; give one another name: NAME={path}.")
        folders[name] = Path(path)
    return folders


def _api_key(file: Path | None) -> str | None:
    variable = os.environ.get(KEY_VARIABLE)
    if file is None:
        key, where = variable, KEY_VARIABLE
    elif variable is not None:
        raise InputError(f"Give the API key in {KEY_VARIABLE} or in --api-key-file, not in both.")
    else:
        try:
            key, where = file.read_text(encoding="utf-8").strip(), str(file)
        except (OSError, UnicodeDecodeError):
            raise InputError(f"The API key file {file} can't be read as text.") from None
    if key is not None and (not key or not key.isascii() or not key.isprintable() or " " in key):
        raise InputError(f"The API key in {where} is empty or not a word of ASCII characters; choose another one.")
    return key
