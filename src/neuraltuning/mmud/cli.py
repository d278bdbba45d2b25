"""The commands `neuraltuning mmud ...`. Each imports what it runs, so that `--help` answers at once."""

from __future__ import annotations

import typer

app = typer.Typer(
    help="Build an MMUD of your own: annotate, filter, tag, review, split, describe.", no_args_is_help=True
)
