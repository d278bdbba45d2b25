"""The command `neuraltuning ablate`. Imports what it runs inside, so that `--help` answers at once."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from neuraltuning.errors import InputError
from neuraltuning.interruption import interruptible

if TYPE_CHECKING:
    from neuraltuning.ablation.grid import Grid


def ablate(
    configuration: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="YAML of a grid, see configs/grids/; of a run with --over.")
    ],
    output: Annotated[Path, typer.Option(help="Folder for the runs under way and the report.")],
    over: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUES", help="Vary a key of a run: alpha=0.1:0.9:0.2, or tuner=neural_tuning,lora."),
    ] = None,
    seeds: Annotated[str, typer.Option(help="With --over: the seeds, as 0,1,2.")] = "0,1,2",
    task: Annotated[str | None, typer.Option(help="With --over: the task whose scores are compared.")] = None,
    results: Annotated[
        Path | None, typer.Option(help="Folder of the results, a small JSON a run; OUTPUT/results by default.")
    ] = None,
    page: Annotated[Path | None, typer.Option(help="Markdown page to write; OUTPUT/ablation.md by default.")] = None,
    jobs: Annotated[
        int, typer.Option(min=1, help="Processes at work side by side; with several GPUs each takes its own.")
    ] = 1,
    limit: Annotated[int | None, typer.Option(min=0, help="Stop after so many runs; 0: only write the page.")] = None,
) -> None:
    """Run a grid of variants over seeds, each run once, and compare them in pairs."""
    if jobs > 1 and limit is not None:
        raise InputError("--limit counts the runs of one process: leave --jobs out with it.")
    with interruptible("What was run is kept: run the same command again to go on."):
        from neuraltuning.ablation.grid import expand, load_grid
        from neuraltuning.ablation.over import grid_over
        from neuraltuning.configuration import read_mapping

        if over:
            settings = grid_over(configuration, over, _numbers(seeds), task)
            grid = expand(settings, read_mapping(configuration), str(configuration))
        else:
            grid = load_grid(configuration)
        folder = results or output / "results"
        if jobs > 1:
            from neuraltuning.ablation.processes import side_by_side

            side_by_side(jobs, [*sys.argv[1:], "--jobs", "1"])
        else:
            _make(grid, output, folder, limit)

        from neuraltuning.ablation.page import write_page

        command = shlex.join(["neuraltuning", *sys.argv[1:]])
        typer.echo(write_page(grid, folder, page or output / "ablation.md", command))


def _make(grid: Grid, output: Path, results: Path, limit: int | None) -> None:
    from neuraltuning.ablation import run as maker
    from neuraltuning.ablation.schedule import Job, make_all
    from neuraltuning.memory import keep_freed_memory

    keep_freed_memory()

    def report(job: Job, left: int) -> None:
        typer.echo(f"{job.run.label} ({left} left)", err=True)

    make_all(grid, maker, output, results, report, limit)


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--seeds {text}: write whole numbers with commas between, as 0,1,2.") from None
