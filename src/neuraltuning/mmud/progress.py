"""The progress of a step that asks models: done, time left, and what it has cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Advance = Callable[[float], None]
"""One item is done; with the cost so far."""


@contextmanager
def progress(title: str, total: int, *, priced: bool) -> Iterator[Advance]:
    """Draws a bar on standard error and yields what moves it on."""
    columns = [TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    if priced:
        columns.append(TextColumn("cost {task.fields[cost]:.2f}"))
    with Progress(*columns, console=Console(stderr=True)) as bar:
        line = bar.add_task("", total=total, cost=0.0)
        yield lambda cost: bar.update(line, advance=1, cost=cost)
