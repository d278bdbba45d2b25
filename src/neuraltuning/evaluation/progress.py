"""The progress of an evaluation on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from neuraltuning.evaluation.evaluator import Runner


@contextmanager
def evaluation_progress() -> Iterator[Callable[[str, int], Runner]]:
    """Yields a function (title, batch size) -> `Runner` whose batches move a bar on standard error."""
    from neuraltuning.evaluation.evaluator import Runner

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        line = progress.add_task("", total=None)

        def runner(title: str, batch_size: int) -> Runner:
            return Runner(
                batch_size,
                lambda label, done, total: progress.update(
                    line, description=f"{title}, {label}", completed=done, total=total
                ),
            )

        yield runner
